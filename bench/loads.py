"""What is copied: so many records of a size, in batches of a size, in so many partitions."""

from dataclasses import dataclass, replace
from typing import Final

RECORD_BYTES: Final = 1000
"""The value of a record, unless a load says otherwise; keys and headers are null."""


@dataclass(frozen=True, slots=True)
class Load:
    """`batch_bytes` is the producer's batch.size: how large the batches came out is read back from the log."""

    name: str
    meaning: str
    records: int
    batch_bytes: int
    compression: str = "none"
    partitions: int = 4
    record_bytes: int = RECORD_BYTES

    @property
    def topic(self) -> str:
        return f"bench-{self.name}"

    @property
    def record_megabytes(self) -> float:
        return self.records * self.record_bytes / 1e6


FULL: Final = (
    Load("plain", "128 KB batches, uncompressed", 1_000_000, 128 * 1024),
    Load("lz4", "128 KB batches, lz4", 1_000_000, 128 * 1024, compression="lz4"),
    Load("small", "5 KB batches, uncompressed", 500_000, 5 * 1024),
    Load("small-lz4", "5 KB batches, lz4", 500_000, 5 * 1024, compression="lz4"),
    Load("small-100", "5 KB batches of records of 100 bytes", 3_000_000, 5 * 1024, record_bytes=100),
    Load("one", "one record a batch", 200_000, 1),
    Load("single", "128 KB batches, one partition", 1_000_000, 128 * 1024, partitions=1),
)
SHORT: Final = tuple(replace(load, records=64_000_000 // load.record_bytes) for load in FULL)
