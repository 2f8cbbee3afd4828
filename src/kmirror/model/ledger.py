"""The gap ledger: what a mirror does not have because the source removed it before it could be copied."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LostGap:
    """`count` offsets from `offset` on, found at `found_ms` (ms since the epoch); markers take them at the mirror."""

    topic: str
    partition: int
    offset: int
    count: int
    found_ms: int
    reason: str
