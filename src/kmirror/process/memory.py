"""What the C library is told about memory, by a process that lives for long."""

import ctypes
import sys
from typing import Final

_ARENA_MAX: Final = -8  # M_ARENA_MAX of mallopt(3)


def share_one_arena() -> None:
    """Has all threads take memory from one place. To be called before there are any.

    glibc gives each its own, up to eight for each core, and keeps what each of them has ever held; tasks have threads
    that work for moments. Python lets one thread run at a time, so they hardly wait for each other. Where the C library
    is another (musl, macOS) nothing is told.
    """
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
        if mallopt is not None:
            mallopt(_ARENA_MAX, 1)
