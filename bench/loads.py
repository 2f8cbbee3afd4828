"""What is copied: so many records of 1,000 bytes, in batches of a size, in so many partitions."""

from dataclasses import dataclass, replace
from typing import Final

RECORD_BYTES: Final = 1000
"""The value of every record; keys and headers are null."""


@dataclass(frozen=True, slots=True)
class Load:
    """`batch_bytes` is the producer's batch.size: how large the batches came out is read back from the log."""

    name: str
    meaning: str
    records: int
    batch_bytes: int
    compression: str = "none"
    partitions: int = 4

    @property
    def topic(self) -> str:
        return f"bench-{self.name}"

    @property
    def record_megabytes(self) -> float:
        return self.records * RECORD_BYTES / 1e6


FULL: Final = (
    Load("plain", "128 KB batches, uncompressed", 1_000_000, 128 * 1024),
    Load("lz4", "128 KB batches, lz4", 1_000_000, 128 * 1024, compression="lz4"),
    Load("small", "5 KB batches, uncompressed", 500_000, 5 * 1024),
    Load("single", "128 KB batches, one partition", 1_000_000, 128 * 1024, partitions=1),
)
SHORT: Final = tuple(replace(load, records=64_000) for load in FULL)
