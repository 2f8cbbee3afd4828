"""The copy of one mirror: its partitions, how it ends, how fast it goes."""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from kmirror.engine.budget import Budget
from kmirror.engine.copy import PartitionCopy
from kmirror.engine.counters import MirrorCounters
from kmirror.model.failures import Failure
from kmirror.model.mirror import Mirror, MirrorError
from kmirror.model.states import LIVE, Event, MirrorState
from kmirror.model.status import MirrorStatus, PartitionState, Trouble
from kmirror.wire.errors import UNKNOWN_TOPIC_OR_PARTITION
from kmirror.wire.rpc import TopicMetadata
from kmirror.wire.topic_id import topic_id_bytes, topic_id_text

_RATE_OVER_S: Final = 5.0
_SAME_FOR_S: Final = 20.0
_SUSPECT_S: Final = 3.0  # one broker's metadata may be old: a topic id must differ for longer than that

Owns = Callable[[str, int], bool]
"""Which partitions of which mirror topics are ours to copy, where several processes share a link."""


def owns_all(_topic: str, _partition: int) -> bool:
    return True


class MirrorCopy:
    """`running` says whether it copies; `error` why it never will again.

    `finishing`: a promote or failover is watched over. `ending`: it is reached, nothing may be appended ever again.
    """

    def __init__(
        self,
        mirror: Mirror,
        budget: Budget,
        counters: MirrorCounters | None = None,
        *,
        merged_bytes: int = 0,
        owns: Owns = owns_all,
    ) -> None:
        self.mirror = mirror
        self.partitions: dict[int, PartitionCopy] = {}
        self.running = False
        self.error: MirrorError | None = mirror.error
        self.trouble: Trouble | None = None
        self.finishing = False
        self.ending = False
        self.growing = False
        self.counters = counters or MirrorCounters()
        self._budget = budget
        self._merged_bytes = merged_bytes
        self._owns = owns
        self._suspected: dict[str, float] = {}
        self._samples: list[tuple[float, int, int]] = []
        self._told: tuple[float, tuple[object, ...], MirrorStatus] | None = None
        self.update(mirror)

    def update(self, mirror: Mirror) -> None:
        """Takes what the user wants now, and partitions that were added."""
        self.mirror = mirror
        for partition in range(mirror.partitions):
            if partition not in self.partitions and self._owns(mirror.topic, partition):
                self.partitions[partition] = PartitionCopy(
                    mirror, partition, self._budget, self.counters, merged_bytes=self._merged_bytes
                )
        stop = mirror.stop
        if stop and stop.event is Event.PROMOTE and mirror.state is MirrorState.PENDING_STOPPED:
            for partition, copy in self.partitions.items():
                # A partition that was added after the promote began is not part of it.
                target = stop.targets[partition] if partition < len(stop.targets) else 0
                if copy.limit != target:
                    copy.cut_at(target)
        else:
            for copy in self.partitions.values():
                if copy.limit is not None:
                    copy.limit = None
                    copy.touch()

    def halt(self) -> None:
        """Fetches and sends nothing more; what is in flight is waited for elsewhere."""
        self.running = False
        for copy in self.partitions.values():
            copy.closed()

    @property
    def drained(self) -> bool:
        return all(copy.drained for copy in self.partitions.values())

    @property
    def is_failover(self) -> bool:
        return self.mirror.stop is not None and self.mirror.stop.event is Event.FAILOVER

    @property
    def at_targets(self) -> bool:
        """A promote has reached the ends that the source had when it was asked for."""
        return all(copy.at_limit for copy in self.partitions.values())

    # --- is it still the topic that it was?

    def topic_fault(
        self, source: TopicMetadata | None, destination: TopicMetadata | None, gone_after_s: float
    ) -> MirrorError | None:
        """Why the mirror has to end, by the topics' metadata: only what has held for long enough."""
        seen = {
            Failure.SOURCE_TOPIC_ID_CHANGED: self._other(source, self.mirror.source_topic_id),
            Failure.DESTINATION_TOPIC_ID_CHANGED: self._other(destination, self.mirror.destination_topic_id),
            Failure.SOURCE_PARTITIONS_DECREASED: self._fewer(source),
            Failure.SOURCE_TOPIC_MAY_BE_DELETED: self._gone(source, self.mirror.source_topic, "source"),
            Failure.DESTINATION_TOPIC_MAY_BE_DELETED: self._gone(destination, self.mirror.topic, "destination"),
        }
        now = time.monotonic()
        for code, message in seen.items():
            if message is None:
                self._suspected.pop(code, None)
                continue
            since = self._suspected.setdefault(code, now)
            if now - since >= (gone_after_s if code.endswith("DELETED") else _SUSPECT_S):
                return MirrorError(code, message)
        return None

    @property
    def suspected(self) -> bool:
        """Something looks wrong with a topic, and is not yet sure."""
        return bool(self._suspected)

    @staticmethod
    def _other(topic: TopicMetadata | None, expected: str) -> str | None:
        if topic is None or topic.error or topic.topic_id == topic_id_bytes(expected):
            return None
        found = topic_id_text(topic.topic_id)
        return f'topic "{topic.name}" was deleted and created anew: its id is {found}, not {expected}'

    def _fewer(self, source: TopicMetadata | None) -> str | None:
        if source is None or source.error or len(source.leaders) >= self.mirror.partitions:
            return None
        return f'source topic "{source.name}" has {len(source.leaders)} partitions, the mirror {self.mirror.partitions}'

    @staticmethod
    def _gone(topic: TopicMetadata | None, name: str, side: str) -> str | None:
        if topic is not None and topic.error != UNKNOWN_TOPIC_OR_PARTITION:
            return None
        return f'{side} topic "{name}" does not exist'

    # --- how it stands

    def sample(self) -> None:
        """Every few seconds, for the rates."""
        now = time.monotonic()
        self._samples.append((now, self.counters.bytes, self.counters.records))
        while len(self._samples) > 2 and now - self._samples[0][0] > _RATE_OVER_S:
            self._samples.pop(0)

    def status_of_late(self, link_trouble: Trouble | None) -> MirrorStatus:
        """As `status`; while nothing happens the same for some seconds, but for the time of the last answer.

        It is asked again and again: putting thousands of partitions together each time is what costs an idle link most.
        """
        if link_trouble or self.error or self.trouble:
            return self.status(link_trouble)
        resting = (self.mirror.state, *[copy.rests_at for copy in self.partitions.values()])
        now = time.monotonic()
        if self._told and self._told[1] == resting and now - self._told[0] < _SAME_FOR_S and None not in resting:
            return self._told[2]
        found = self.status(None)
        idle = found.bytes_per_s == found.records_per_s == 0
        self._told = (now, resting, found) if idle else None
        return found

    def status(self, link_trouble: Trouble | None) -> MirrorStatus:
        """`link_trouble`: why the destination can't be reached, if it can't."""
        partitions = tuple(copy.status(self.error) for copy in self.partitions.values())
        if link_trouble and self.running:  # a partition with nothing to send does not find it out by itself
            away = PartitionState.DESTINATION_UNAVAILABLE
            partitions = tuple(p if p.trouble else replace(p, state=away, trouble=link_trouble) for p in partitions)
        shown = self.mirror.state
        states = {p.state for p in partitions}
        if self.error and shown in LIVE:
            shown = MirrorState.FAILED
        elif shown is MirrorState.ACTIVE and (link_trouble or PartitionState.DESTINATION_UNAVAILABLE in states):
            shown = MirrorState.LINK_FAILED
        elif shown is MirrorState.ACTIVE and PartitionState.SOURCE_UNAVAILABLE in states:
            shown = MirrorState.SOURCE_UNAVAILABLE
        first, last = (self._samples[0], self._samples[-1]) if self._samples else ((0.0, 0, 0), (0.0, 0, 0))
        elapsed = last[0] - first[0]
        rates = ((last[1] - first[1]) / elapsed, (last[2] - first[2]) / elapsed) if elapsed > 0 else (0.0, 0.0)
        return MirrorStatus(self.mirror.topic, shown, partitions, *rates, trouble=self.trouble)
