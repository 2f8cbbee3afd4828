"""Small batches of one partition made into one large one (format v2), as if the producer had lingered longer.

Key, value and headers of a record stay the very bytes that they were. What counts from the start of the batch is
written anew: a record's length, timestamp delta and offset delta (org.apache.kafka.common.record.DefaultRecord).
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

from kmirror.wire import batch as wire
from kmirror.wire.compression import compress, decompress
from kmirror.wire.records import made_batch
from kmirror.wire.varint import encode_signed, read_signed

_LONG: Final = 1 << 63
_CHEAP: Final = frozenset({0, 2, 3, 4})  # gzip takes longer than what is saved
_READY: Final = tuple(encode_signed(value) for value in range(1 << 14))  # nearly all lengths and offset deltas
_UNPACKED_BYTES: Final = 1 << 20


class Merged(NamedTuple):
    """`batch` holds the records of the first `parts` batches, from base offset 0."""

    batch: memoryview
    parts: int
    max_timestamp: int


def codec_to_merge(batch: memoryview) -> int | None:
    """The codec of a dense batch that may be merged with others of the same; None where it has to stay as it is.

    Only attributes of which it is known what they mean are let through: no log append time, no delete horizon, which
    stands in place of the base timestamp (KIP-534).
    """
    attributes = wire.attributes(batch) & ~wire.TRANSACTIONAL
    return attributes if attributes in _CHEAP else None


def merge(batches: Sequence[memoryview]) -> Merged | None:
    """One batch of the records of neighbouring dense batches of one codec: as many as can be read, from the first on.

    None where that is not even two.
    """
    first = wire.header(batches[0])
    codec = first.attributes & wire.COMPRESSION
    records: list[bytes] = []
    count = unpacked = merged = 0
    latest = first.max_timestamp
    for batch in batches:
        header = wire.header(batch)
        try:
            data = bytes(decompress(codec, batch[wire.HEADER_BYTES :]))
            records += _moved(data, header.record_count, count, header.base_timestamp - first.base_timestamp)
        except Exception:  # each codec has errors of its own; such a batch stays as it is
            break
        count += header.record_count
        latest = max(latest, header.max_timestamp)
        unpacked += len(data)
        merged += 1
        if unpacked >= _UNPACKED_BYTES:
            break
    if merged < 2:
        return None
    if codec:
        records = [compress(codec, b"".join(records))]
    return Merged(made_batch(records, codec, count, first.base_timestamp, latest), merged, latest)


def _moved(data: bytes, count: int, offsets: int, milliseconds: int) -> list[bytes]:
    """The `count` records of `data`, each so much behind its batch's base, in pieces.

    Raises ValueError or IndexError unless they are all that `data` holds, at offset deltas 0, 1, 2 and so on.
    """
    out: list[bytes] = []
    add = out.append
    ready, most = _READY, len(_READY)
    delta_before, stamp = None, b""
    position = 0
    for index in range(count):  # varints of one byte, and lengths of two, are read here: a call costs as much again
        size = data[position]
        if size < 0x80:
            position += 1
            size = (size >> 1) ^ -(size & 1)
        else:
            size, position = read_signed(data, position)
        end = position + size
        if data[position]:
            raise ValueError("a record with attributes")
        delta = data[position + 1]
        if delta < 0x80:
            position += 2
            delta = (delta >> 1) ^ -(delta & 1)
        else:
            delta, position = read_signed(data, position + 1)
        if delta != delta_before:
            delta_before, stamp = delta, _encode_long(delta + milliseconds)
        found = data[position]
        if found < 0x80:
            position += 1
            found = (found >> 1) ^ -(found & 1)
        else:
            found, position = read_signed(data, position)
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


def _encode_long(value: int) -> bytes:
    if not -_LONG <= value < _LONG:
        raise ValueError("a timestamp delta of more than 64 bits")
    return encode_signed(value)
