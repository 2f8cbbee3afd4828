"""Small batches of one partition made into one large one (format v2), as if the producer had lingered longer.

Key, value and headers of a record stay the very bytes that they were. What counts from the start of the batch is
written anew: a record's length, timestamp delta and offset delta (org.apache.kafka.common.record.DefaultRecord).
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

from kmirror.wire import batch as wire
from kmirror.wire.compression import LZ4, SNAPPY, ZSTD, compress, decompress
from kmirror.wire.moved import moved
from kmirror.wire.records import finish_batch

_CHEAP: Final = frozenset({0, SNAPPY, LZ4, ZSTD})  # gzip takes longer than what is saved
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
    headers = [wire.header(batch) for batch in batches]
    first = headers[0]
    codec = first.attributes & wire.COMPRESSION
    payloads = _payloads(codec, batches)
    headers = headers[: len(payloads)]
    counts = [header.record_count for header in headers]
    out, parts = moved(payloads, counts, [header.base_timestamp - first.base_timestamp for header in headers])
    if parts < 2:
        return None
    if codec:
        out = bytearray(wire.HEADER_BYTES) + compress(codec, bytes(memoryview(out)[wire.HEADER_BYTES :]))
    latest = max(header.max_timestamp for header in headers[:parts])
    return Merged(finish_batch(out, codec, sum(counts[:parts]), first.base_timestamp, latest), parts, latest)


def _payloads(codec: int, batches: Sequence[memoryview]) -> list[bytes | memoryview]:
    """Unpacked: of the first ones, up to one that can't be, or until it is enough."""
    out: list[bytes | memoryview] = []
    size = 0
    for batch in batches:
        try:
            out.append(decompress(codec, batch[wire.HEADER_BYTES :]))
        except Exception:  # each codec has errors of its own; such a batch stays as it is
            break
        size += len(out[-1])
        if size >= _UNPACKED_BYTES:
            break
    return out
