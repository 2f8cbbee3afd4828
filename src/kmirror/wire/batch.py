"""Record batches, message format v2: the 61-byte header, patched in place (Kafka's DefaultRecordBatch).

Base offset and leader epoch lie outside the checksum; producer id, epoch and sequence inside, so it is carried over.
The records themselves are never touched, compressed or not.
"""

import struct
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from crc32c import crc32c
from kafka.record import MemoryRecords
from kafka.record.legacy_records import LegacyRecordBatch

from kmirror.wire.checksum import crc_after

HEADER: Final = struct.Struct(">qiibIhiqqqhii")
HEADER_BYTES: Final = HEADER.size
_LENGTH_AT: Final = 8
_PLACE: Final = struct.Struct(">qii")  # base offset, length, leader epoch
MAGIC_AT: Final = 16
_CRC_AT: Final = 17
CRC_FROM: Final = 21
_PREFIX: Final = struct.Struct(">qiibI")
_PRODUCER: Final = struct.Struct(">qhi")
_PRODUCER_AT: Final = 43
LOG_OVERHEAD: Final = 12  # base offset and length stand before what the length counts

TRANSACTIONAL: Final = 0x10
CONTROL: Final = 0x20
LOG_APPEND_TIME: Final = 0x08
COMPRESSION: Final = 0x07
NO_OFFSET: Final = (1 << 63) - 1
"""Beyond all offsets that there can be."""
NO_TIMESTAMP: Final = -1
"""What readers see where a record has none: in format v0."""


class BatchHeader(NamedTuple):
    """Fields of a v2 batch header. Timestamps in ms since the epoch; `record_count` counts the records."""

    base_offset: int
    length: int
    leader_epoch: int
    magic: int
    crc: int
    attributes: int
    last_offset_delta: int
    base_timestamp: int
    max_timestamp: int
    producer_id: int
    producer_epoch: int
    base_sequence: int
    record_count: int

    @property
    def last_offset(self) -> int:
        return self.base_offset + self.last_offset_delta

    @property
    def dense(self) -> bool:
        """Each offset of the batch holds a record."""
        return self.record_count == self.last_offset_delta + 1


class Record(NamedTuple):
    """One record as a reader sees it; `timestamp` in ms since the epoch."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]


class RawBatch(NamedTuple):
    """A whole batch or, below format v2, message: where it starts, its format, and its bytes."""

    base_offset: int
    magic: int
    data: memoryview


def split(records: memoryview) -> Iterator[RawBatch]:
    """The whole batches in the records of a fetch; what is cut off at the end is left out. Raises ValueError."""
    while (raw := first_batch(records)) is not None:
        yield raw
        records = records[len(raw.data) :]


def sizes(records: memoryview, missing: Mapping[int, int]) -> Iterator[int]:
    """Of the whole batches in the records of a fetch, `missing` as of `wire.fetch.Fetched`. Raises ValueError."""
    at = 0
    while (raw := first_batch(records[at:], missing.get(at, 0))) is not None:
        yield len(raw.data) + missing.get(at, 0)
        at += len(raw.data)


def first_batch(records: memoryview, missing_bytes: int = 0) -> RawBatch | None:
    """The first batch in the records of a fetch; None where it is cut off. Raises ValueError.

    Its last `missing_bytes` are somewhere else.
    """
    if len(records) <= MAGIC_AT:
        return None
    base_offset, length = struct.unpack_from(">qi", records)
    if length < MAGIC_AT - LOG_OVERHEAD + 1:
        raise ValueError(f"a batch of {length} bytes at offset {base_offset}")
    end = LOG_OVERHEAD + length - missing_bytes
    return RawBatch(base_offset, records[MAGIC_AT], records[:end]) if end <= len(records) else None


def first_batch_bytes(records: memoryview) -> int | None:
    """The size of the first batch, even if it is cut off; None where not even its length is there."""
    if len(records) < LOG_OVERHEAD:
        return None
    return int(struct.unpack_from(">i", records, _LENGTH_AT)[0]) + LOG_OVERHEAD


def header(batch: memoryview) -> BatchHeader:
    """Raises struct.error where the batch is shorter than its header."""
    return BatchHeader._make(HEADER.unpack_from(batch))


def base_offset(batch: memoryview) -> int:
    return int(struct.unpack_from(">q", batch)[0])


def leader_epoch(batch: memoryview) -> int:
    """Of a v2 batch."""
    return int(_PLACE.unpack_from(batch)[2])


def attributes(batch: memoryview) -> int:
    """Of a v2 batch: codec and flags."""
    return int(batch[CRC_FROM] << 8 | batch[CRC_FROM + 1])


def compression(batch: memoryview) -> int:
    """The codec of a batch, or of a message below format v2 (whose attributes stand elsewhere)."""
    if batch[MAGIC_AT] < 2:
        return int(batch[MAGIC_AT + 1] & COMPRESSION)
    return header(batch).attributes & COMPRESSION


def epoch_before(records: memoryview, offset: int, missing: Mapping[int, int]) -> int:
    """The leader epoch of the last whole v2 batch that begins before `offset`; -1 where there is none.

    `missing` as of `wire.fetch.Fetched`.
    """
    epoch, at, end = -1, 0, len(records)
    while at + MAGIC_AT < end:  # what can't be read stands behind all that was translated
        base, length, found = _PLACE.unpack_from(records, at)
        behind = at + LOG_OVERHEAD + length - missing.get(at, 0)
        if base >= offset or length < MAGIC_AT - LOG_OVERHEAD + 1 or behind > end:
            break
        epoch = found if records[at + MAGIC_AT] == 2 else -1
        at = behind
    return epoch


def with_length(header: memoryview, payload_bytes: int) -> bytes:
    """The header of a batch whose records take so many bytes."""
    out = bytearray(header)
    struct.pack_into(">i", out, _LENGTH_AT, HEADER_BYTES - LOG_OVERHEAD + payload_bytes)
    return bytes(out)


def is_intact(batch: memoryview) -> bool:
    """The checksum fits the bytes."""
    return bool(crc32c(batch[CRC_FROM:]) == struct.unpack_from(">I", batch, _CRC_AT)[0])


def seal(batch: memoryview) -> None:
    """Sets the checksum, in place."""
    struct.pack_into(">I", batch, _CRC_AT, crc32c(batch[CRC_FROM:]))


def stamp_slowly(
    batch: memoryview, producer_id: int, producer_epoch: int, sequence: int, missing_bytes: int = 0
) -> None:
    """Makes a source batch one of ours, in place: base offset 0, no leader epoch, our producer, and the CRC for that.

    The transactional bit goes: a committed record becomes a plain one. The last `missing_bytes` of the batch may be
    somewhere else: they stay as they are. Raises ValueError below a header's length. `stamp` is this, or its twin.
    """
    if len(batch) < HEADER_BYTES:
        raise ValueError("not a batch")
    _, length, _, _, crc = _PREFIX.unpack_from(batch)
    before = bytes(batch[CRC_FROM:HEADER_BYTES])
    attributes = struct.unpack_from(">h", batch, CRC_FROM)[0]
    struct.pack_into(">h", batch, CRC_FROM, attributes & ~TRANSACTIONAL)
    _PRODUCER.pack_into(batch, _PRODUCER_AT, producer_id, producer_epoch, sequence)
    crc = crc_after(crc, before, batch[CRC_FROM:HEADER_BYTES], len(batch) - HEADER_BYTES + missing_bytes)
    _PREFIX.pack_into(batch, 0, 0, length, -1, 2, crc)


def same_records(a: memoryview, b: memoryview) -> bool:
    """Both batches hold the same bytes of records at the same offsets: no need to decode either."""
    x, y = header(a), header(b)
    return (
        x.base_offset == y.base_offset
        and x.last_offset_delta == y.last_offset_delta
        and x.record_count == y.record_count
        and x.attributes & ~TRANSACTIONAL == y.attributes & ~TRANSACTIONAL
        and x.base_timestamp == y.base_timestamp
        and x.max_timestamp == y.max_timestamp
        and bytearray(a[HEADER_BYTES:]) == b[HEADER_BYTES:]  # two views are compared byte by byte: ten times slower
    )


def decode(batch: memoryview) -> list[Record]:
    """The records of one batch of any format (the slow path); none for a control batch. Raises ValueError.

    kafka-python raises errors of many kinds for damaged bytes: all are ValueError here.
    """
    try:
        reader = MemoryRecords(bytes(batch))
        out = []
        while (item := reader.next_batch()) is not None:
            if getattr(item, "is_control_batch", False):
                continue
            if isinstance(item, LegacyRecordBatch) and not item.validate_crc():
                raise ValueError("the checksum is wrong")  # noqa: TRY301  # joins the others
            out += [
                Record(
                    r.offset,
                    NO_TIMESTAMP if r.timestamp is None else r.timestamp,
                    r.key,
                    r.value,
                    tuple((k, v) for k, v in r.headers),
                )
                for r in item
            ]
    except Exception as e:
        raise ValueError(f"unreadable batch: {type(e).__name__}: {e}") from e
    return out


try:
    from kmirror.wire import _batches

    stamp = _batches.stamp
except ImportError:
    stamp = stamp_slowly
