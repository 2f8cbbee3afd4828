"""Records of several batches, moved into one: lengths, timestamp deltas and offset deltas are written anew.

This is the hot loop of merging. `_batches.c` does the same where the package was built with a C compiler; nobody needs
to have one. The tests hold both equal.
"""

from collections.abc import Iterator
from typing import Final

from kmirror.wire.batch import HEADER, HEADER_BYTES, LOG_OVERHEAD
from kmirror.wire.varint import encode_signed, read_signed

__all__ = ["moved", "moved_slowly"]

_INT64: Final = range(-(1 << 63), 1 << 63)
_READY: Final = tuple(encode_signed(value) for value in range(1 << 14))  # nearly all lengths and offset deltas


def moved_slowly(runs: list[bytes | memoryview]) -> tuple[bytearray, int, int, int]:
    """Room for a header, and behind it the records of the first batches: how many batches and records, the latest time.

    Each run holds batches one behind the other, not compressed, whose records have the offset deltas 0, 1, 2 and so on.
    Here these go on over all, and timestamps count from that of the first batch. It ends before a batch that is
    something else.
    """
    out = [bytes(HEADER_BYTES)]
    batches = records = first = latest = 0
    for begins, ends, count, payload in _batches(runs):
        first = first if batches else begins
        try:
            out += _moved(payload, count, records, _long(begins - first))
        except (ValueError, IndexError):
            break
        latest = max(latest, ends) if batches else ends
        batches, records = batches + 1, records + count
    return bytearray().join(out), batches, records, latest


def _batches(runs: list[bytes | memoryview]) -> Iterator[tuple[int, int, int, bytes]]:
    """Base and maximum timestamp, number of records, and the records, up to what is no batch."""
    for run in runs:
        at = 0
        while at < len(run):
            if at + HEADER_BYTES > len(run):
                return
            _, length, *_, begins, ends, _, _, _, count = HEADER.unpack_from(run, at)
            behind = at + LOG_OVERHEAD + length
            if length < HEADER_BYTES - LOG_OVERHEAD or behind > len(run):
                return
            yield begins, ends, count, bytes(run[at + HEADER_BYTES : behind])
            at = behind


def _moved(data: bytes, count: int, offsets: int, later: int) -> list[bytes]:
    """Raises ValueError or IndexError unless `count` records are all that `data` holds."""
    if not 0 < count <= len(data):
        raise ValueError("no records, or more than bytes")
    out: list[bytes] = []
    add = out.append
    ready, most = _READY, len(_READY)
    delta_before, stamp = None, b""
    position = 0
    for index in range(count):  # varints of one byte are read here: a call costs as much as all the rest
        size = data[position]
        if size < 0x80:
            position += 1
            size = (size >> 1) ^ -(size & 1)
        else:
            size, position = _read_long(data, position)
        end = position + size
        if data[position]:
            raise ValueError("a record with attributes")
        delta = data[position + 1]
        if delta < 0x80:
            position += 2
            delta = (delta >> 1) ^ -(delta & 1)
        else:
            delta, position = _read_long(data, position + 1)
        if delta != delta_before:
            delta_before, stamp = delta, encode_signed(_long(delta + later))
        found = data[position]
        if found < 0x80:
            position += 1
            found = (found >> 1) ^ -(found & 1)
        else:
            found, position = _read_long(data, position)
        if found != index or position > end:
            raise ValueError("records that are not one behind the other")
        offset = offsets + index
        place = ready[offset] if offset < most else encode_signed(offset)
        size = end - position + 1 + len(stamp) + len(place)
        add((ready[size] if size < most else encode_signed(size)) + b"\0" + stamp + place)
        add(data[position:end])
        position = end
    if position != len(data):
        raise ValueError("other records than the header says")
    return out


def _read_long(data: bytes, position: int) -> tuple[int, int]:
    value, position = read_signed(data, position)
    return _long(value), position


def _long(value: int) -> int:
    if value not in _INT64:
        raise ValueError("a number of more than 64 bits")
    return value


try:
    from kmirror.wire._batches import moved
except ImportError:
    moved = moved_slowly
