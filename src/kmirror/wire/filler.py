"""Filler: batches of up to a million empty records, in about three quarters of a byte each.

They move the log end of a new topic to where its source begins; DeleteRecords then takes them away.
"""

import struct
from typing import Final

import zstandard
from crc32c import crc32c

from kmirror.wire.varint import encode_signed

MOST_RECORDS: Final = 1_000_000
_ZSTD: Final = 4
_EMPTY: Final = b"\1\1\0"  # null key, null value, no headers


def filler_batch(count: int, timestamp_ms: int) -> memoryview:
    """One batch of `count` records, at most MOST_RECORDS, with no producer."""
    records = bytearray()
    for index in range(count):
        record = b"\0\0" + encode_signed(index) + _EMPTY
        records += encode_signed(len(record)) + record
    payload = zstandard.ZstdCompressor(level=3).compress(bytes(records))
    tail = struct.pack(">hiqqqhii", _ZSTD, count - 1, timestamp_ms, timestamp_ms, -1, -1, -1, count) + payload
    return memoryview(struct.pack(">qiibI", 0, len(tail) + 9, -1, 2, crc32c(tail)) + tail)
