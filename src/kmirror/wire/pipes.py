"""Kernel pipes in which large batches wait: their bytes go from one socket to another without coming to our memory.

Linux alone has `splice`. A pipe holds a fixed number of pieces, each a page at most, so a batch that comes in many
small packets may not fit: it is read into memory then, as all are elsewhere.
"""

import fcntl
import os
import resource
import sys
from typing import Final

_MOST_PIPES: Final = 128  # two answers of the usual size, and all the room that one user may have (pipe(7))
_PIPE_BYTES: Final = 512 << 10
_PART_OF_FILES: Final = 8  # two descriptors a pipe: at most a quarter of all that may be open
_NONBLOCK: Final = 2
_SET_SIZE: Final = 1031  # F_SETPIPE_SZ

LEAST_BYTES: Final = 32 << 10
"""Below this the system calls cost more than the copies."""
MOST_BYTES: Final = 400 << 10
"""What fits in one piece or another, even of a network card's small ones."""


class Pipe:
    """`held` bytes wait in it. It goes back to its pool when nobody has it any more."""

    __slots__ = ("_pool", "held", "read_end", "write_end")

    def __init__(self, pool: "PipePool", read: int, write: int) -> None:
        self._pool = pool
        self.read_end = read
        self.write_end = write
        self.held = 0

    def __len__(self) -> int:
        return self.held

    def __bool__(self) -> bool:
        return True

    def fill(self, sock: int, most: int) -> int:
        """Takes at most so many bytes from a socket; 0 at its end. Raises BlockingIOError: it has none, or is full."""
        count = os.splice(sock, self.write_end, most, flags=_NONBLOCK)
        self.held += count
        return count

    def empty(self, sock: int) -> int:
        """Gives as much to a socket as it takes. Raises OSError.

        The kernel sends it at once: to hold its end back for what follows took as much CPU as it spared, and time.
        """
        count = os.splice(self.read_end, sock, self.held, flags=_NONBLOCK)
        self.held -= count
        return count

    def read_into(self, buffer: memoryview) -> None:
        """All that waits, which is as long as `buffer`."""
        assert len(buffer) == self.held
        while self.held:
            self.held -= os.readv(self.read_end, [buffer[-self.held :]])

    def __del__(self) -> None:
        self._pool._given_back(self.read_end, self.write_end, is_empty=not self.held)  # noqa: SLF001


class PipePool:
    """Of one process. `take` gives None where there are no more, or none at all."""

    def __init__(self) -> None:
        self._free: list[tuple[int, int]] = []
        self._made = 0
        self._most = 0
        if sys.platform == "linux":
            self._most = min(_MOST_PIPES, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // _PART_OF_FILES)

    def take(self) -> Pipe | None:
        if self._free:
            return Pipe(self, *self._free.pop())
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
        return Pipe(self, *ends)

    def _given_back(self, read: int, write: int, *, is_empty: bool) -> None:
        if is_empty:
            self._free.append((read, write))
        else:
            self._made -= 1
            _close((read, write))

    def __del__(self) -> None:
        for ends in self._free:
            _close(ends)


def _close(ends: tuple[int, int]) -> None:
    for end in ends:
        os.close(end)
