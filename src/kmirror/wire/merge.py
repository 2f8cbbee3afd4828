"""Small batches of one partition made into one large one (format v2), as if the producer had lingered longer.

Key, value and headers of a record stay the very bytes that they were. What counts from the start of the batch is
written anew: a record's length, timestamp delta and offset delta (org.apache.kafka.common.record.DefaultRecord).
"""

from collections.abc import Sequence
from itertools import chain
from typing import Final, NamedTuple

from kmirror.wire import batch as wire
from kmirror.wire.compression import compress, decompress
from kmirror.wire.moved import moved
from kmirror.wire.records import finish_batch
from kmirror.wire.scan import CHEAP

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
    return attributes if attributes in CHEAP else None


def merge(runs: Sequence[memoryview]) -> Merged | None:
    """One batch of the records of neighbouring dense batches of one codec: as many as can be read, from the first on.

    Each run holds one or more of them, one behind the other. None where not even two can be read.
    """
    codec = wire.attributes(runs[0]) & wire.COMPRESSION
    first = wire.header(runs[0]).base_timestamp
    out, parts, records, latest = moved(_unpacked(codec, runs) if codec else list(runs))
    if parts < 2:
        return None
    if codec:
        out = bytearray(wire.HEADER_BYTES) + compress(codec, bytes(memoryview(out)[wire.HEADER_BYTES :]))
    return Merged(finish_batch(out, codec, records, first, latest), parts, latest)


def _unpacked(codec: int, runs: Sequence[memoryview]) -> list[bytes | memoryview]:
    """The first batches, each as it was before it was compressed: up to one that can't be, or until it is enough."""
    out: list[bytes | memoryview] = []
    size = 0
    for batch in chain.from_iterable(map(wire.split, runs)):
        try:
            payload = decompress(codec, batch.data[wire.HEADER_BYTES :])
        except Exception:  # each codec has errors of its own; such a batch stays as it is
            break
        out.append(wire.with_length(batch.data[: wire.HEADER_BYTES], len(payload)) + payload)
        size += len(payload)
        if size >= _UNPACKED_BYTES:
            break
    return out
