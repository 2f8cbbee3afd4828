"""For all tests: a run in the background may have SIGINT ignored, and its children would inherit that.

The benchmark is no part of the package: its tests find it here. And which worker of a parallel run gets which tests.
"""

import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from support import shifts

signal.signal(signal.SIGINT, signal.default_int_handler)
sys.path.append(str(Path(__file__).resolve().parent.parent))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: shifts.place_of(item.nodeid))


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> shifts.Shifts:
    return shifts.Shifts(config, log)
