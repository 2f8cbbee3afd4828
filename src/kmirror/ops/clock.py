"""The wall clock, in the unit in which everything is recorded."""

import time


def now_ms() -> int:
    return time.time_ns() // 1_000_000
