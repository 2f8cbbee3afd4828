"""Receives the answer to a fetch: large batches that can go on as they are stay in pipes, all else comes to memory.

So it has to know where batches begin before the whole answer is there. What it can't read comes to memory as well:
whoever decodes the answer finds what is wrong with it. In memory what came stands close together, without the bytes
that are in pipes: they would leave gaps there, with a header between two of them, and so a page for each.
"""

import contextlib
import socket
import struct
from collections.abc import Callable, Generator
from typing import Final, TypeVar

from kmirror.wire import fetch
from kmirror.wire.batch import COMPRESSION, HEADER, HEADER_BYTES, LOG_OVERHEAD, TRANSACTIONAL
from kmirror.wire.pipes import LEAST_BYTES, MOST_BYTES, Pipe, PipePool
from kmirror.wire.topics import read_topic
from kmirror.wire.transport import MEMORY_AT_ONCE_BYTES
from kmirror.wire.varint import skip_tags

_AHEAD_BYTES: Final = 256  # what stands between the records of two partitions is seldom longer
_AT_ONCE_BYTES: Final = 1 << 20  # then others have their turn
_MOST_PASSED: Final = 8  # batches that come to memory, one behind the other: then all others do as well
_BETWEEN_BYTES: Final = 16 << 10  # that come with each of these, so that small ones don't cost a system call each
_COPIED_PART: Final = 8  # to copy an eighth costs little

_T = TypeVar("_T")
_Steps = Generator[None, None, None]


class FetchReader:
    """For one answer, with pipes of `pool`.

    `piped` holds the pipes: by where the records of a partition begin in what came to memory, and by where a batch
    begins in these. `received` counts the bytes of the answer that have come, wherever they are.
    """

    def __init__(self, version: int, pool: PipePool) -> None:
        self.received = 0
        self.piped: dict[int, dict[int, Pipe]] = {}
        self._version = version
        self._pool = pool
        self._memory = memoryview(b"")
        self._held = 0  # bytes of it that have come
        self._end = 0  # where it ends: so much less than the answer as is in pipes
        self._sock: socket.socket
        self._pause_at = 0
        self._ended = False
        self._steps: _Steps

    @property
    def at_once_bytes(self) -> int:
        """What is in pipes is never looked at, so it may come in large parts."""
        return _AT_ONCE_BYTES if self.piped else MEMORY_AT_ONCE_BYTES

    def begin(self, memory: memoryview, received: int) -> None:
        """`memory` has room for all of the answer, of which so much is there already."""
        self._memory = memory
        self._end = len(memory)
        self.received = self._held = received
        self._steps = self._read()

    def end(self) -> memoryview:
        """What of the answer came to memory, once all has come. Of little a copy: the large buffer is used again."""
        memory = self._memory[: self._held]
        self._forget()
        return memoryview(bytearray(memory)) if _COPIED_PART * self._held <= self.received else memory

    def give_up(self) -> None:
        """Nothing more will come, and nobody wants what has: its pipes are free again."""
        self._forget()
        self.piped.clear()

    def _forget(self) -> None:
        """Steps that have not ended hold the reader, and it them: nobody would free them for a long while."""
        self._steps.close()
        self._memory = memoryview(b"")

    def receive(self, sock: socket.socket) -> int:
        """Takes of the answer what has come, but not all of a long one at once; returns how many bytes.

        0: the other side has hung up. Raises BlockingIOError where nothing has come, and OSError.
        """
        before = self.received
        self._sock, self._pause_at = sock, before + _AT_ONCE_BYTES
        next(self._steps, None)
        if self.received == before and not self._ended:
            raise BlockingIOError
        return self.received - before

    def _read(self) -> _Steps:
        """Runs until nothing more has come."""
        with contextlib.suppress(struct.error, IndexError, ValueError):  # whoever decodes the frame tells
            yield from self._read_topics()
        yield from self._to_memory(self._end)

    def _read_topics(self) -> _Steps:
        topics, position = yield from self._parsed(_topics, 0)
        for _ in range(topics):
            count, position = yield from self._parsed(self._partitions, position)
            for _ in range(count):
                start, end = yield from self._parsed(_records, position)
                if end > self._end:
                    return
                end = yield from self._read_records(start, end)
                position = yield from self._parsed(skip_tags, end)
            position = yield from self._parsed(skip_tags, position)

    def _read_records(self, start: int, end: int) -> Generator[None, None, int]:
        """Returns where they end: all that went to pipes is not there."""
        at = start
        passed = 0
        while at + HEADER_BYTES <= end and passed < _MOST_PASSED:
            if at + HEADER_BYTES > self._held:
                yield from self._to_memory(at + HEADER_BYTES)
            size, for_pipe = _size(self._memory, at)
            behind = at + size
            if not HEADER_BYTES <= size <= end - at:
                break
            if not for_pipe:
                passed += 1
                if behind > self._held:
                    yield from self._to_memory(min(end, max(behind, self._held + _BETWEEN_BYTES)))
            if behind <= self._held:
                at = behind
                continue
            pipe = self._pool.take()
            if pipe is None:
                break
            passed = 0
            pipes = self.piped.setdefault(start, {})
            pipes[at - start] = pipe
            yield from self._to_pipe(pipe, behind - self._held)
            piped = len(pipe)
            if not piped:
                del pipes[at - start]
            at = behind - piped
            end -= piped
            self._end -= piped
            del pipe  # it goes back to the pool as soon as its batch is sent
        yield from self._to_memory(end)
        return end

    def _to_memory(self, until: int) -> _Steps:
        while self._held < until:
            try:
                count = self._sock.recv_into(self._memory[self._held : until])
            except (BlockingIOError, InterruptedError):
                yield
                continue
            self._held += count
            if self._took(count):
                yield

    def _to_pipe(self, pipe: Pipe, size: int) -> _Steps:
        """So many bytes, or all of them to memory if the pipe does not hold them."""
        left = size
        while left:
            try:
                count = pipe.fill(self._sock.fileno(), left)
            except (BlockingIOError, InterruptedError):
                if self._has_more():
                    until = self._held + size
                    self._held += len(pipe)
                    pipe.read_into(self._memory[self._held - len(pipe) : self._held])
                    yield from self._to_memory(until)
                    return
                yield
                continue
            left -= count
            if self._took(count):
                yield

    def _took(self, count: int) -> bool:
        """So many bytes; returns whether others have their turn now."""
        self.received += count
        self._ended = not count
        return not count or self.received >= self._pause_at

    def _has_more(self) -> bool:
        """Then it is the pipe that is full."""
        try:
            return bool(self._sock.recv(1, socket.MSG_PEEK))
        except (BlockingIOError, InterruptedError):
            return False

    def _parsed(self, parse: Callable[[memoryview, int], _T], position: int) -> Generator[None, None, _T]:
        """What `parse` finds at `position`, once enough has come for it."""
        while True:
            try:
                return parse(self._memory[: self._held], position)
            except (struct.error, IndexError):
                if self._held >= self._end:
                    raise
                yield from self._to_memory(min(self._held + _AHEAD_BYTES, self._end))

    def _partitions(self, view: memoryview, position: int) -> tuple[int, int]:
        return read_topic(view, position, by_id=self._version >= fetch.BY_ID)[1:]


def _topics(view: memoryview, _: int) -> tuple[int, int]:
    return fetch.read_head(view)[3:]


def _records(view: memoryview, position: int) -> tuple[int, int]:
    return fetch.read_partition(view, position)[-2:]


def _size(memory: memoryview, at: int) -> tuple[int, bool]:
    """Of the batch there, and whether it is a large one that can go on as it is."""
    _, length, _, magic, _, flags, last, _, _, _, _, _, count = HEADER.unpack_from(memory, at)
    size = int(length) + LOG_OVERHEAD
    plain = magic == 2 and 0 < count == last + 1 and not flags & ~(COMPRESSION | TRANSACTIONAL)
    return size, plain and LEAST_BYTES <= size <= MOST_BYTES
