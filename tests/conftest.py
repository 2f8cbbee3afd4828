"""For all tests: a run in the background may have SIGINT ignored, and its children would inherit that.

The benchmark is no part of the package: its tests find it here.
"""

import signal
import sys
from pathlib import Path

signal.signal(signal.SIGINT, signal.default_int_handler)
sys.path.append(str(Path(__file__).resolve().parent.parent))
