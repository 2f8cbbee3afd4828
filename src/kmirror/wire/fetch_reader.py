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

from kmirror.wire import fetch, relay
from kmirror.wire.batch import HEADER_BYTES
from kmirror.wire.pipes import LEAST_BYTES, MOST_BYTES, Pipe, PipePool, read_into
from kmirror.wire.relay import Why, batch_size
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
        begun: Pipe | None = None
        while at + HEADER_BYTES <= end and passed < _MOST_PASSED:
            standing, limits = (self._held, at, end, begun), (self._pause_at - self.received, LEAST_BYTES, MOST_BYTES)
            why, (self._held, at, left, begun), count, led = relay.lead(
                self._sock, self._memory, standing, limits, self._pool
            )
            self.received += count
            self._end -= end - left
            end = left
            if led:
                passed = 0
                self.piped.setdefault(start, {}).update({place - start: pipe for place, pipe in led})
            del led  # a pipe goes back to the pool as soon as its batch is sent
            if why in {Why.MORE, Why.TURN, Why.OVER}:
                self._ended = why == Why.OVER
                yield
            elif begun is not None:
                at, begun = (yield from self._out_of_pipe(begun, at)), None
            elif at + HEADER_BYTES <= end:
                size, as_it_is = batch_size(self._memory, at)
                behind = at + size
                if not HEADER_BYTES <= size <= end - at:
                    break
                if not as_it_is or not LEAST_BYTES <= size <= MOST_BYTES:
                    passed += 1
                    if behind > self._held:
                        yield from self._to_memory(min(end, max(behind, self._held + _BETWEEN_BYTES)))
                if behind > self._held:
                    break  # it is one for a pipe, and there is none
                at = behind
        yield from self._to_memory(end)
        return end

    def _out_of_pipe(self, pipe: Pipe, at: int) -> Generator[None, None, int]:
        """All of the batch that begins there comes to memory, for the pipe is full; returns where it ends."""
        behind = at + batch_size(self._memory, at)[0]
        self._held += pipe.held
        read_into(pipe, self._memory[self._held - pipe.held : self._held])
        yield from self._to_memory(behind)
        return behind

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

    def _took(self, count: int) -> bool:
        """So many bytes; returns whether others have their turn now."""
        self.received += count
        self._ended = not count
        return not count or self.received >= self._pause_at

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
