"""Record batches and messages as a log holds them, packed by hand: also those that no client would ever send."""

import gzip
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

from crc32c import crc32c
from kafka.codec import gzip_encode, lz4_encode, snappy_encode, zstd_encode

CODECS = {0: bytes, 1: gzip_encode, 2: snappy_encode, 3: lz4_encode, 4: zstd_encode}
LOG_APPEND_TIME = 0x08
TRANSACTIONAL = 0x10
CONTROL = 0x20


@dataclass(frozen=True)
class Rec:
    """A record at `delta` from the batch's base; `at` is its timestamp in ms."""

    delta: int
    value: bytes | None = b"v"
    key: bytes | None = None
    at: int = 1_700_000_000_000
    headers: tuple[tuple[str, bytes | None], ...] = ()


def varint(value: int) -> bytes:
    """Zigzag, as inside records."""
    number = value * 2 if value >= 0 else -value * 2 - 1
    out = bytearray()
    while number > 127:
        out.append(number % 128 + 128)
        number //= 128
    return bytes([*out, number])


def _sized(data: bytes | None) -> bytes:
    return varint(-1) if data is None else varint(len(data)) + data


def _record(record: Rec, base_timestamp: int) -> bytes:
    headers = b"".join(_sized(key.encode()) + _sized(value) for key, value in record.headers)
    body = (
        b"\0"
        + varint(record.at - base_timestamp)
        + varint(record.delta)
        + _sized(record.key)
        + _sized(record.value)
        + varint(len(record.headers))
        + headers
    )
    return varint(len(body)) + body


def batch(
    base: int,
    records: Sequence[Rec],
    *,
    last_delta: int | None = None,
    attributes: int = 0,
    producer: tuple[int, int, int] = (-1, -1, -1),
    max_timestamp: int | None = None,
    leader_epoch: int = 7,
) -> bytes:
    """A v2 batch; `attributes` holds the codec in its low bits, `last_delta` is the last record's unless given."""
    base_timestamp = records[0].at if records else 0
    body = CODECS[attributes & 7](b"".join(_record(r, base_timestamp) for r in records))
    last = last_delta if last_delta is not None else records[-1].delta
    newest = max_timestamp if max_timestamp is not None else max((r.at for r in records), default=0)
    checked = (
        struct.pack(">hiqq", attributes, last, base_timestamp, newest)
        + struct.pack(">qhi", *producer)
        + struct.pack(">i", len(records))
        + body
    )
    return struct.pack(">qiibI", base, len(checked) + 9, leader_epoch, 2, crc32c(checked)) + checked


def dense(base: int, count: int, *, attributes: int = 0, producer: tuple[int, int, int] = (-1, -1, -1)) -> bytes:
    records = [Rec(i, b"value %d" % (base + i), b"key %d" % (base + i)) for i in range(count)]
    return batch(base, records, attributes=attributes, producer=producer)


def marker(base: int, producer_id: int, *, commit: bool) -> bytes:
    """A transaction's end: a control batch of one record (EndTransactionMarker)."""
    record = Rec(0, struct.pack(">hi", 0, 0), struct.pack(">hh", 0, 1 if commit else 0))
    return batch(base, [record], attributes=CONTROL | TRANSACTIONAL, producer=(producer_id, 0, -1))


def message(offset: int, value: bytes | None, *, magic: int, key: bytes | None = None, codec: int = 0) -> bytes:
    """A message of format v0 or v1; with a codec, `value` is a set of messages, compressed here."""
    body = gzip.compress(value) if codec and value is not None else value
    stamp = struct.pack(">q", 1_600_000_000_000) if magic else b""
    packed = [struct.pack(">i", -1) if part is None else struct.pack(">i", len(part)) + part for part in (key, body)]
    checked = struct.pack(">bb", magic, codec) + stamp + b"".join(packed)
    return struct.pack(">qiI", offset, len(checked) + 4, zlib.crc32(checked)) + checked


def message_set(base: int, count: int, *, magic: int) -> bytes:
    """`count` messages of format v0 or v1, wrapped into one that is compressed with gzip."""
    inner = b"".join(message(i if magic else base + i, b"old %d" % (base + i), magic=magic) for i in range(count))
    return message(base + count - 1, inner, magic=magic, codec=1)
