"""For all tests: a run in the background may have SIGINT ignored, and its children would inherit that."""

import signal

signal.signal(signal.SIGINT, signal.default_int_handler)
