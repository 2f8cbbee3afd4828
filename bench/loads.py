"""What is copied: so many records of a size, in batches of a size, in so many partitions."""

from dataclasses import dataclass, replace
from typing import Final

RECORD_BYTES: Final = 1000
"""The value of a record, unless a load says otherwise; keys and headers are null."""


@dataclass(frozen=True, slots=True)
class Load:
    """`records` are those that a reader is to see: neither aborted ones nor those that compaction removed.

    `batch_bytes` is the producer's batch.size: how large the batches came out is read back from the log.
    `transaction`: so many records are a transaction, of one partition; `aborted`: each so manieth is aborted.
    `hole`: the log is compacted, and runs of so many records alternate with holes of so many offsets.
    `traffic`: so many records a second go on being produced while the load is copied. `append_time`: the broker gives
    the records their time, so that each is written anew for the mirror. `uneven`: the nth partition gets a nth of what
    the first one gets.
    """

    name: str
    meaning: str
    records: int
    batch_bytes: int
    compression: str = "none"
    partitions: int = 4
    record_bytes: int = RECORD_BYTES
    transaction: int = 0
    aborted: int = 0
    hole: int = 0
    traffic: int = 0
    append_time: bool = False
    uneven: bool = False

    @property
    def topic(self) -> str:
        return f"bench-{self.name}"

    @property
    def record_megabytes(self) -> float:
        return self.records * self.record_bytes / 1e6


FULL: Final = (
    Load("plain", "128 KB batches, uncompressed", 1_000_000, 128 << 10),
    Load("lz4", "128 KB batches, lz4", 1_000_000, 128 << 10, compression="lz4"),
    Load("zstd", "128 KB batches, zstd", 1_000_000, 128 << 10, compression="zstd"),
    Load("small", "5 KB batches, uncompressed", 500_000, 5 << 10),
    Load("small-lz4", "5 KB batches, lz4", 500_000, 5 << 10, compression="lz4"),
    Load("small-100", "5 KB batches of records of 100 bytes", 3_000_000, 5 << 10, record_bytes=100),
    Load("one", "one record a batch", 200_000, 1),
    Load("single", "128 KB batches, one partition", 1_000_000, 128 << 10, partitions=1),
    Load("transactions", "transactions of 100 records, 16 KB batches", 200_000, 16 << 10, transaction=100),
    Load("aborted", "the same, each tenth aborted", 200_000, 16 << 10, transaction=100, aborted=10),
    Load("holes", "compacted, a hole of 100 offsets behind each 100 records", 100_000, 16 << 10, hole=100),
    Load("single-holes", "compacted, each second record gone", 10_000, 16 << 10, hole=1),
    Load("many", "2,000 partitions, uneven, 16 KB batches", 300_000, 16 << 10, partitions=2_000, uneven=True),
    Load("catch-up", "300 MB waiting, and 10,000 records/s go on", 300_000, 16 << 10, traffic=10_000),
)
SHORT: Final = tuple(
    replace(load, records=min(load.records, 64_000_000 // load.record_bytes), partitions=min(load.partitions, 200))
    for load in FULL
    if not load.traffic
)
