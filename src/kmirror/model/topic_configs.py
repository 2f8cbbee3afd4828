"""The configs of a topic by how a mirror follows its source: categories as in Cluster Linking."""

from typing import Final

ALWAYS: Final = frozenset({"cleanup.policy", "max.message.bytes", "message.timestamp.type"})
"""Copied from the source, and nobody may choose otherwise."""

OPTIONAL: Final = frozenset(
    {
        "compression.type",
        "delete.retention.ms",
        "file.delete.delay.ms",
        "flush.messages",
        "flush.ms",
        "index.interval.bytes",
        "max.compaction.lag.ms",
        "message.timestamp.after.max.ms",
        "message.timestamp.before.max.ms",
        "min.cleanable.dirty.ratio",
        "min.compaction.lag.ms",
        "min.insync.replicas",
        "preallocate",
        "retention.bytes",
        "retention.ms",
        "segment.bytes",
        "segment.index.bytes",
        "segment.jitter.ms",
        "segment.ms",
        "unclean.leader.election.enable",
    }
)
"""Copied from the source unless the user gives another value."""

ELSEWHERE: Final = frozenset(
    {
        "confluent.segment.speculative.prefetch.enable",
        "message.downconversion.enable",
        "message.timestamp.difference.max.ms",
    }
)
"""Names that a list made for Cluster Linking may hold: of the broker's own, or gone from newer Kafka. Not copied."""


def parse_synced(text: str) -> frozenset[str]:
    """`topic.config.sync.include`: which of these names follow the source. Raises ValueError."""
    names = frozenset(name.strip() for name in text.split(",") if name.strip())
    unknown = sorted(names - ALWAYS - OPTIONAL - ELSEWHERE)
    if unknown:
        raise ValueError(f'names "{unknown[0]}", which a mirror does not follow')
    missing = sorted(ALWAYS - names)
    if missing:
        raise ValueError(f'lacks "{missing[0]}", which a mirror always follows')
    return names - ELSEWHERE
