"""Memory for large frames, used again: making a buffer anew for each costs a page fault for every 4 KB that come.

A buffer is free once no view into it is left. Python itself keeps count: an `mmap` with views can't be resized. And
of an `mmap` only the pages that are written to take memory: where large batches stay in pipes, the first few.
"""

import mmap
import weakref
from typing import Final, Self

_SMALL_BYTES: Final = 64 << 10  # below this nothing is gained
_KEPT_BYTES: Final = 32 << 20  # a few responses of the usual size: one that comes, one that waits, one on its way
_STEP_BYTES: Final = (
    256 << 10
)  # buffers are made a little larger than asked for: the next frame is seldom the same size
_MOST_WASTE: Final = 4


class _Buffer(mmap.mmap):
    """One whose end can be seen."""

    def __new__(cls, size: int) -> Self:
        return super().__new__(cls, -1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)


class BufferPool:
    """Keeps at most `most_bytes` of buffers; what is beyond is ordinary memory, given back when it is not used."""

    def __init__(self, most_bytes: int = _KEPT_BYTES) -> None:
        self._most_bytes = most_bytes
        self._buffers: list[_Buffer] = []  # the last given out comes last
        self._live_bytes = 0

    @property
    def kept_bytes(self) -> int:
        return sum(map(len, self._buffers))

    @property
    def held_bytes(self) -> int:
        """Of large buffers of which somebody has a view, however small a part it shows."""
        return self._live_bytes - sum(len(buffer) for buffer in self._buffers if _is_free(buffer))

    def take(self, size: int) -> memoryview:
        """`size` bytes that nobody else has, of any content. They are free again when no view into them is left."""
        if size < _SMALL_BYTES:
            return memoryview(bytearray(size))
        for index, buffer in enumerate(self._buffers):
            if size <= len(buffer) <= _MOST_WASTE * size and _is_free(buffer):
                self._buffers.append(self._buffers.pop(index))
                return memoryview(buffer)[:size]
        buffer = _Buffer(-(-size // _STEP_BYTES) * _STEP_BYTES)
        self._live_bytes += len(buffer)
        weakref.finalize(buffer, self._ended, len(buffer)).atexit = False
        self._keep(buffer)
        return memoryview(buffer)[:size]

    def _ended(self, size: int) -> None:
        self._live_bytes -= size

    def _keep(self, buffer: _Buffer) -> None:
        """Those of other sizes that nobody uses make room."""
        room = self._most_bytes - self.kept_bytes - len(buffer)
        for other in self._buffers[:] if room < 0 else ():
            if room < 0 and _is_free(other):
                self._buffers = [kept for kept in self._buffers if kept is not other]
                room += len(other)
        if room >= 0:
            self._buffers.append(buffer)


def _is_free(buffer: _Buffer) -> bool:
    try:
        buffer.resize(len(buffer))  # the length stays, so nothing moves
    except BufferError:
        return False
    except (SystemError, ValueError):  # not every system can, but views were looked for first
        return True
    return True
