"""Records of several batches, moved into one: lengths, timestamp deltas and offset deltas are written anew.

This is the hot loop of merging. `_moved.c` does the same where the package was built with a C compiler; nobody needs
to have one. The tests hold both equal.
"""

from typing import Final

from kmirror.wire.batch import HEADER_BYTES
from kmirror.wire.varint import encode_signed, read_signed

__all__ = ["moved", "moved_slowly"]

_INT64: Final = range(-(1 << 63), 1 << 63)
_READY: Final = tuple(encode_signed(value) for value in range(1 << 14))  # nearly all lengths and offset deltas


def moved_slowly(
    payloads: list[bytes | memoryview], counts: list[int], milliseconds: list[int]
) -> tuple[bytearray, int]:
    """Room for a header, the records of the first payloads behind it, and how many payloads that are.

    Each is so many records at offset deltas 0, 1, 2 and so on; here they go on over all. A record's timestamp delta
    grows by the `milliseconds` of its payload. It ends before a payload that is something else.
    """
    out = [bytes(HEADER_BYTES)]
    offsets = parts = 0
    for payload, count, later in zip(payloads, counts, milliseconds, strict=True):
        try:
            out += _moved(bytes(payload), count, offsets, later)
        except (ValueError, IndexError):
            break
        offsets += count
        parts += 1
    return bytearray().join(out), parts


def _moved(data: bytes, count: int, offsets: int, later: int) -> list[bytes]:
    """Raises ValueError or IndexError unless `count` records are all that `data` holds."""
    if not 0 < count <= len(data):
        raise ValueError("no records, or more than bytes")
    _long(later)
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
    from kmirror.wire._moved import moved
except ImportError:
    moved = moved_slowly
