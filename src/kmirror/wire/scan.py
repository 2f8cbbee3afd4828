"""The batches of a fetch, each looked at once: small ones that may be merged are told together, as a run.

`_batches.c` does the same where the package was built with a C compiler. The tests hold both equal.
"""

from collections.abc import Callable
from typing import Final

from crc32c import crc32c

from kmirror.wire.batch import COMPRESSION, CRC_FROM, HEADER, HEADER_BYTES, LOG_OVERHEAD, TRANSACTIONAL
from kmirror.wire.compression import LZ4, SNAPPY, ZSTD

__all__ = ["CHEAP", "Run", "scan", "scan_slowly"]

CHEAP: Final = frozenset({0, SNAPPY, LZ4, ZSTD})
"""Codecs of batches that are merged: none, snappy, lz4, zstd. gzip takes longer than what is saved."""


Run = tuple[int, int, int, int, int]
"""At which byte it ends, how many batches and records it has, its first batch's timestamp and the latest, in ms."""


def scan(records: memoryview, position: int, committed: int, most_bytes: tuple[int, int]) -> list[Run]:
    """The runs of the first batches in the records of a fetch, until another kind comes.

    They are whole and intact, leave no gap from offset `position` on, have a record at each offset, and no flag but
    that of a transaction, if they end at or below offset `committed`. Neighbours of one codec and one leader epoch are
    a run, if each has at most the first of `most_bytes`, and all together the second.
    """
    return _scan(records, position, committed, most_bytes, crc32c)


def scan_slowly(
    records: memoryview,
    position: int,
    committed: int,
    most_bytes: tuple[int, int],
    checksum: Callable[[memoryview], int],
) -> list[Run]:
    small, together = most_bytes
    runs: list[Run] = []
    at, end = 0, len(records)
    start, alike = 0, (-1, -1)
    while at + HEADER_BYTES <= end:
        base, length, epoch, magic, crc, flags, last, first, latest, _, _, _, count = HEADER.unpack_from(records, at)
        behind = at + LOG_OVERHEAD + length
        if magic != 2 or base != position or not 0 < count == last + 1 or length < HEADER_BYTES - LOG_OVERHEAD:
            break
        if behind > end or flags & ~(COMPRESSION | TRANSACTIONAL):
            break
        if flags & TRANSACTIONAL and base + count > committed:
            break
        if checksum(records[at + CRC_FROM : behind]) != crc:
            break
        codec = flags & COMPRESSION
        is_small = behind - at <= small and codec in CHEAP
        if is_small and alike == (codec, epoch) and behind - start <= together:
            _, batches, records_before, begin, most = runs[-1]
            runs[-1] = (behind, batches + 1, records_before + count, begin, max(most, latest))
        else:
            runs.append((behind, 1, count, first, latest))
            start, alike = at, (codec, epoch) if is_small else (-1, -1)
        at = behind
        position += count
    return runs


try:
    from kmirror.wire._batches import scan as _scan
except ImportError:
    _scan = scan_slowly
