"""Records taken out of a batch and written into another: the slow path, for batches that can't go as they are.

Key, value and headers of a record stay the very bytes that they were; only its length, timestamp delta and offset delta
are written anew (org.apache.kafka.common.record.DefaultRecord).
"""

import struct
from collections.abc import Sequence
from typing import Final, NamedTuple

from kmirror.wire import batch as wire
from kmirror.wire.compression import compress, decompress
from kmirror.wire.varint import encode_signed, read_signed

_HEAD: Final = struct.Struct(">qiibIhiqqqhii")


class RawRecord(NamedTuple):
    """`body` is key, value and headers as in the log; `timestamp` in ms since the epoch."""

    offset: int
    timestamp: int
    body: bytes


def read_records(batch: memoryview) -> list[RawRecord]:
    """The records of one v2 data batch with the timestamps that readers see. Raises ValueError for damaged bytes."""
    header = wire.header(batch)
    try:
        payload = bytes(decompress(header.attributes & wire.COMPRESSION, batch[wire.HEADER_BYTES :]))
        append_time = header.max_timestamp if header.attributes & wire.LOG_APPEND_TIME else None
        out = []
        position = 0
        for _ in range(header.record_count):  # varints of one byte are read here: a call costs as much as all the rest
            size = payload[position]
            if size < 0x80:
                size, position = (size >> 1) ^ -(size & 1), position + 1
            else:
                size, position = read_signed(payload, position)
            end = position + size
            delta = payload[position + 1]  # behind the unused attributes
            if delta < 0x80:
                delta, position = (delta >> 1) ^ -(delta & 1), position + 2
            else:
                delta, position = read_signed(payload, position + 1)
            offset = payload[position]
            if offset < 0x80:
                offset, position = (offset >> 1) ^ -(offset & 1), position + 1
            else:
                offset, position = read_signed(payload, position)
            if not position <= end <= len(payload):
                raise ValueError("a record is longer than its batch")  # noqa: TRY301  # joins the others
            timestamp = header.base_timestamp + delta if append_time is None else append_time
            out.append(RawRecord(header.base_offset + offset, timestamp, payload[position:end]))
            position = end
    except Exception as e:  # each codec has errors of its own
        raise ValueError(f"unreadable batch at offset {header.base_offset}: {type(e).__name__}: {e}") from e
    return out


def records_of(batch: memoryview) -> list[RawRecord]:
    """The records of one data batch of any format. Raises ValueError for damaged bytes."""
    if batch[wire.MAGIC_AT] < 2:
        return [raw_record(record) for record in wire.decode(batch)]
    return read_records(batch)


def raw_record(record: wire.Record) -> RawRecord:
    """A decoded record (of format v0 or v1, which has no headers) in the bytes of v2."""
    parts = [_bytes(record.key), _bytes(record.value), encode_signed(len(record.headers))]
    for name, value in record.headers:
        parts += [_bytes(name.encode()), _bytes(value)]
    return RawRecord(record.offset, record.timestamp, b"".join(parts))


def read_body(body: bytes) -> tuple[bytes | None, bytes | None, tuple[tuple[str, bytes | None], ...]]:
    """Key, value and headers of a record's body. Raises ValueError for damaged bytes."""
    try:
        key, position = _read_bytes(body, 0)
        value, position = _read_bytes(body, position)
        count, position = read_signed(body, position)
        headers = []
        for _ in range(count):
            name, position = _read_bytes(body, position)
            content, position = _read_bytes(body, position)
            headers.append(((name or b"").decode(errors="backslashreplace"), content))
    except IndexError as e:
        raise ValueError("a record is shorter than it says") from e
    return key, value, tuple(headers)


def _read_bytes(body: bytes, position: int) -> tuple[bytes | None, int]:
    size, position = read_signed(body, position)
    if size < 0:
        return None, position
    if position + size > len(body):
        raise ValueError("a part of a record is longer than the record")
    return body[position : position + size], position + size


def write_batch(records: Sequence[RawRecord], codec: int) -> memoryview:
    """A v2 batch of these records at neighbouring offsets, from base offset 0; to be stamped before it is sent."""
    base = records[0].timestamp
    parts = []
    for index, record in enumerate(records):
        content = b"\0" + encode_signed(record.timestamp - base) + encode_signed(index) + record.body
        parts += [encode_signed(len(content)), content]
    payload = compress(codec, b"".join(parts))
    latest = max(record.timestamp for record in records)
    count = len(records)
    return finish_batch(bytearray(wire.HEADER_BYTES) + payload, codec, count, base, latest)


def finish_batch(batch: bytearray, codec: int, count: int, base_timestamp: int, max_timestamp: int) -> memoryview:
    """Puts the header of a dense batch of nobody's, from base offset 0, into the room before its records."""
    length = len(batch) - wire.LOG_OVERHEAD
    _HEAD.pack_into(batch, 0, 0, length, -1, 2, 0, codec, count - 1, base_timestamp, max_timestamp, -1, -1, -1, count)
    view = memoryview(batch)
    wire.seal(view)
    return view


def _bytes(value: bytes | None) -> bytes:
    return encode_signed(-1) if value is None else encode_signed(len(value)) + value
