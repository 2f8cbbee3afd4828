"""What is done with each large batch: led from one socket into a pipe, and with what stands before it into another.

`_relay.c` does the same where the package was built with a C compiler, on Linux. The tests hold both equal.
"""

import socket
from collections import deque
from enum import IntEnum
from typing import Final

from kmirror.wire.batch import COMPRESSION, HEADER, HEADER_BYTES, LOG_OVERHEAD, TRANSACTIONAL
from kmirror.wire.pipes import Pipe, PipePool, empty, fill

__all__ = ["Led", "Part", "Standing", "Why", "batch_size", "lead", "lead_slowly", "send", "send_slowly"]

_PARTS_AT_ONCE: Final = 64  # far below IOV_MAX, and more than the kernel takes at once of large ones

Memory = bytes | bytearray | memoryview
Part = Memory | Pipe


class Why(IntEnum):
    """Why `lead` returns."""

    MORE = 0
    """Nothing more has come."""
    TURN = 1
    """As much as was wanted has come."""
    OTHER = 2
    """The next batch is not one for a pipe, or comes to memory already, or there is no pipe; or none is next."""
    FULL = 3
    """The pipe that was begun is full, and the batch has more."""
    OVER = 4
    """The other side has hung up."""


Standing = tuple[int, int, int, Pipe | None]
"""How many bytes of the answer memory holds, where the next batch begins in it, and where the partition's records end:
so much less than the answer says as is in pipes. And a pipe that holds some of the next batch already."""

Led = tuple[int, Standing, int, list[tuple[int, Pipe]]]
"""Why it returns, how it stands, how many bytes have come; and where batches begin of which the rest is in a pipe."""


def lead_slowly(
    sock: socket.socket, memory: memoryview, standing: Standing, limits: tuple[int, int, int], pool: PipePool
) -> Led:
    """Receives batches of a partition: their headers to `memory`, all else to pipes of `pool`. Raises OSError.

    Until another batch comes than one that can go on as it is and is of the right size. `limits`: how many bytes at
    once, and the least and the largest size.
    """
    held, at, end, begun = standing
    most, least, largest = limits
    why, received = Why.OTHER, 0
    led: list[tuple[int, Pipe]] = []
    while at + HEADER_BYTES <= end:
        into_pipe = held >= at + HEADER_BYTES
        try:
            if into_pipe:
                size, as_it_is = batch_size(memory, at)
                if not as_it_is or size > end - at or not least <= size <= largest or at + size <= held:
                    break
                if begun is None and (begun := pool.take()) is None:
                    break
                count = fill(begun, sock.fileno(), at + size - held - begun.held)
                if held + begun.held == at + size:
                    led.append((at, begun))
                    at, end, begun = held, end - begun.held, None
            else:
                count = sock.recv_into(memory[held : at + HEADER_BYTES])
                held += count
        except (BlockingIOError, InterruptedError):
            why = Why.FULL if into_pipe and _has_more(sock) else Why.MORE
            break
        if not count:
            why = Why.OVER
            break
        received += count
        if received >= most:
            why = Why.TURN
            break
    return why, (held, at, end, begun), received, led


def batch_size(memory: memoryview, at: int) -> tuple[int, bool]:
    """Of the batch with the header there, and whether it can go on as it is."""
    _, length, _, magic, _, flags, last, _, _, _, _, _, count = HEADER.unpack_from(memory, at)
    return int(length) + LOG_OVERHEAD, magic == 2 and 0 < count == last + 1 and not flags & ~(
        COMPRESSION | TRANSACTIONAL
    )


def _has_more(sock: socket.socket) -> bool:
    """Then it is the pipe that is full."""
    try:
        return bool(sock.recv(1, socket.MSG_PEEK))
    except (BlockingIOError, InterruptedError):
        return False


def send_slowly(sock: socket.socket, parts: deque[Part]) -> int:
    """Sends as much as the kernel takes, and takes it away from `parts`; how many bytes.

    Parts that stay where they are until then go out by one system call, up to one that is in a pipe: the kernel holds
    them back until that follows. Raises OSError.
    """
    total = 0
    while parts:
        first = parts[0]
        try:
            if isinstance(first, Memory):
                total += _send_memory(sock, parts)
            else:
                total += empty(first, sock.fileno())
                if not first.held:
                    parts.popleft()
        except (BlockingIOError, InterruptedError):
            break
    return total


def _send_memory(sock: socket.socket, parts: deque[Part]) -> int:
    several: list[Memory] = []
    flags = 0
    for part in parts:
        if not isinstance(part, Memory):
            flags = socket.MSG_MORE
            break
        if len(several) == _PARTS_AT_ONCE:
            break
        several.append(part)
    left = sent = sock.sendmsg(several, (), flags)
    for part in several:
        if left < len(part):
            parts[0] = memoryview(part)[left:]
            break
        left -= len(part)
        parts.popleft()
    return sent


try:
    from kmirror.wire._relay import lead, send
except ImportError:
    lead, send = lead_slowly, send_slowly
