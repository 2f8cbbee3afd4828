"""What a run has done so far, counted: numbers that only grow while the process lives, read by whoever wants them."""

from collections import Counter
from dataclasses import dataclass, field, fields
from typing import Any

from kmirror.model.status import Throttle
from kmirror.wire.cluster import ConnectionCounters


@dataclass(slots=True, eq=False)
class MirrorCounters:
    """Of all partitions of one mirror topic; the topic keeps them when its mirror is made anew."""

    batches: int = 0
    """Of the source."""
    appends: int = 0
    """Batches of the destination: fewer, where small ones were merged."""
    records: int = 0
    bytes: int = 0
    """Of batches as they are sent: compressed, with their headers."""
    fills: int = 0
    """Offsets without a visible record that were taken at the destination."""
    lost: int = 0
    """Offsets that retention removed at the source before they were copied."""
    reopenings: int = 0
    """A partition closed and opened again: after a refusal, a lost connection, a leader that moved, a pause."""
    refusals: Counter[str] = field(default_factory=Counter)
    """Batches that the destination did not take, by Kafka's name of the error."""
    retries: Counter[str] = field(default_factory=Counter)
    """Requests that failed and are made again, by cluster (`source`, `destination`)."""


@dataclass(slots=True, eq=False)
class RunCounters:
    """Of a whole run: it outlives the engines of that run, each of which goes on counting."""

    mirrors: dict[str, MirrorCounters] = field(default_factory=dict)
    connections: dict[str, ConnectionCounters] = field(default_factory=dict)
    braked_s: float = 0.0
    """How long fetches waited for cluster.link.io.max.bytes.per.second."""

    def throttled_s(self) -> dict[Throttle, float]:
        """How long each had this run wait; of several brokers at a time the sum."""
        return {
            Throttle.SOURCE_QUOTA: self.cluster("source").throttled_s,
            Throttle.DESTINATION_QUOTA: self.cluster("destination").throttled_s,
            Throttle.IO_LIMIT: self.braked_s,
        }

    def add(self, now: "RunCounters", before: "RunCounters | None" = None) -> None:
        """Takes over what another process has counted since `before`, or since it began."""
        before = before or RunCounters()
        for topic, counted in now.mirrors.items():
            _add(self.mirror(topic), counted, before.mirrors.get(topic) or MirrorCounters())
        for role, seen in now.connections.items():
            _add(self.cluster(role), seen, before.connections.get(role) or ConnectionCounters())
        self.braked_s += now.braked_s - before.braked_s

    def mirror(self, topic: str) -> MirrorCounters:
        return self.mirrors.setdefault(topic, MirrorCounters())

    def cluster(self, role: str) -> ConnectionCounters:
        return self.connections.setdefault(role, ConnectionCounters())


def _add(total: Any, now: Any, before: Any) -> None:
    for each in fields(now):
        counted = getattr(now, each.name)
        known = getattr(total, each.name)
        if isinstance(counted, Counter):
            known.update({key: count - getattr(before, each.name)[key] for key, count in counted.items()})
        else:
            setattr(total, each.name, known + counted - getattr(before, each.name))
