"""What a comparison of a mirror with its source looks at, and what it finds: the words of `kmirror mirror verify`.

The truth is the source as a read_committed consumer sees it. The mirror has to show exactly that at both isolation
levels. Offsets that show nothing at the source must show nothing at the mirror.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


class What(StrEnum):
    PARTITIONS = "partition count"
    LOG_START = "log start"
    LOG_END = "log end"
    MISSING = "missing"
    EXTRA = "extra"
    KEY = "key"
    VALUE = "value"
    HEADERS = "headers"
    TIMESTAMP = "timestamp"


class Level(StrEnum):
    """At which isolation level a consumer of the mirror sees the difference."""

    BOTH = "both"
    COMMITTED = "read_committed"
    UNCOMMITTED = "read_uncommitted"


@dataclass(frozen=True, slots=True)
class Shown:
    """What a consumer sees of a record, but for its offset. The timestamp in ms since the epoch.

    The kind of timestamp does not count: records of a LogAppendTime topic are mirrored with their append time.
    """

    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]
    timestamp: int


Side = Shown | int | None
"""What one side has: a record, an offset or a number (of log starts, ends, partitions), or nothing."""


@dataclass(frozen=True, slots=True)
class Difference:
    """`count` offsets from `offset` on differ in the same way; `source` and `destination` are those of the first.

    `partition` None: the whole topic. `offset` None: the whole partition.
    """

    partition: int | None
    offset: int | None
    what: tuple[What, ...]
    level: Level = Level.BOTH
    source: Side = None
    destination: Side = None
    count: int = 1


@dataclass(frozen=True, slots=True)
class PartitionPlan:
    """The offsets to compare in one partition: `spans` in their order, without overlap.

    `source_end` is the source's last stable offset and `stable_end` the mirror's: beyond them a read_committed consumer
    is shown nothing. Below `adopted_end` clients wrote the mirror's log: what they aborted there does not count.
    """

    partition: int
    spans: tuple[range, ...]
    source_end: int
    stable_end: int
    adopted_end: int = 0

    @property
    def offsets(self) -> int:
        return sum(len(span) for span in self.spans)


@dataclass(frozen=True, slots=True)
class TopicPlan:
    """A mirror and its source. Topic ids are Kafka's text of them. `compacted`: either side may remove records."""

    topic: str
    source_topic: str
    topic_id: str
    source_topic_id: str
    partitions: tuple[PartitionPlan, ...]
    compacted: bool = False


class Watcher(Protocol):
    """Is told what was compared and found, as it goes on."""

    def compared(self, offsets: int, records: int, size: int) -> None:
        """`size` in bytes, as far as it is known."""

    def found(self, difference: Difference) -> None: ...

    def skipped(self, partition: int, offsets: range) -> None:
        """Retention removed them at one side while they were to be compared."""

    def removed(self, partition: int, records: int) -> None:
        """Compaction removed them at one side only, as it may."""

    def ended(self) -> bool:
        """The comparison is to stop as soon as it can."""


def parts_that_differ(source: Shown, destination: Shown) -> tuple[What, ...]:
    parts = {
        What.KEY: source.key != destination.key,
        What.VALUE: source.value != destination.value,
        What.HEADERS: source.headers != destination.headers,
        What.TIMESTAMP: source.timestamp != destination.timestamp,
    }
    return tuple(what for what, differs in parts.items() if differs)
