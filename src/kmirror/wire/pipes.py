"""Kernel pipes in which large batches wait: their bytes go from one socket to another without coming to our memory.

Linux alone has `splice`. A pipe holds a fixed number of pieces, each a page at most, so a batch that comes in many
small packets may not fit: it is read into memory then, as all are elsewhere.
"""

import fcntl
import os
import resource
import sys
from typing import TYPE_CHECKING, Final

_MOST_PIPES: Final = 128  # two answers of the usual size, and all the room that one user may have (pipe(7))
_PIPE_BYTES: Final = 512 << 10
_PART_OF_FILES: Final = 8  # two descriptors a pipe: at most a quarter of all that may be open
_NONBLOCK: Final = 2
_SET_SIZE: Final = 1031  # F_SETPIPE_SZ

LEAST_BYTES: Final = 32 << 10
"""Below this the system calls cost more than the copies."""
MOST_BYTES: Final = 400 << 10
"""What fits in one piece or another, even of a network card's small ones."""


Ends = tuple[int, int]
"""Of which one reads, and to which one writes: two descriptors."""


class PlainPipe:
    """`held` bytes wait in it. It goes back to its pool when nobody has it any more.

    `_relay.c` has the same, where it is compiled.
    """

    __slots__ = ("_ends", "_pool", "held")

    def __init__(self, pool: "PipePool", ends: Ends) -> None:
        self._pool = pool
        self._ends = ends
        self.held = 0

    @property
    def read_end(self) -> int:
        return self._ends[0]

    @property
    def write_end(self) -> int:
        return self._ends[1]

    def __len__(self) -> int:
        return self.held

    def __del__(self) -> None:
        if self.held:
            self._pool.lost(self._ends)
        else:
            self._pool.free.append(self._ends)


if TYPE_CHECKING:
    Pipe = PlainPipe
else:
    try:
        from kmirror.wire._relay import Pipe
    except ImportError:
        Pipe = PlainPipe


def fill(pipe: Pipe, sock: int, most: int) -> int:
    """Takes at most so many bytes from a socket; 0 at its end. Raises BlockingIOError: it has none, or is full."""
    count = os.splice(sock, pipe.write_end, most, flags=_NONBLOCK)
    pipe.held += count
    return count


def empty(pipe: Pipe, sock: int) -> int:
    """Gives as much to a socket as it takes. Raises OSError.

    The kernel sends it at once: to hold its end back for what follows took as much CPU as it spared, and time.
    """
    count = os.splice(pipe.read_end, sock, pipe.held, flags=_NONBLOCK)
    pipe.held -= count
    return count


def read_into(pipe: Pipe, buffer: memoryview) -> None:
    """All that waits, which is as long as `buffer`."""
    assert len(buffer) == pipe.held
    while pipe.held:
        pipe.held -= os.readv(pipe.read_end, [buffer[-pipe.held :]])


class PipePool:
    """Of one process. `take` gives None where there are no more, or none at all; pipes themselves see to `free`."""

    def __init__(self, most: int = _MOST_PIPES) -> None:
        self.free: list[Ends] = []
        self._made = 0
        self._most = 0
        if sys.platform == "linux":
            self._most = min(most, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // _PART_OF_FILES)

    def take(self) -> Pipe | None:
        ends = self.free.pop() if self.free else self._new()
        return Pipe(self, ends) if ends else None

    def _new(self) -> Ends | None:
        if self._made >= self._most:
            return None
        try:
            ends = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            self._most = self._made
            return None
        try:
            fcntl.fcntl(ends[1], _SET_SIZE, _PIPE_BYTES)
        except OSError:  # this user has as much as it may
            self._most = self._made
            _close(ends)
            return None
        self._made += 1
        return ends

    def lost(self, ends: Ends) -> None:
        """A pipe is given up with bytes in it."""
        self._made -= 1
        _close(ends)

    def __del__(self) -> None:
        for ends in self.free:
            _close(ends)


def _close(ends: Ends) -> None:
    for end in ends:
        os.close(end)
