"""`mirror verify`: compares mirrors with their sources, topic by topic, and keeps what was found."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

from kmirror.admin.verify import compare_consumed
from kmirror.engine.verify import Addresses, compare_batches
from kmirror.errors import KmirrorError, NotReached
from kmirror.model.ledger import LostGap
from kmirror.model.link import Link
from kmirror.model.states import MirrorState
from kmirror.model.verification import Difference
from kmirror.ops.verify_plan import Planned, Selection, ask, plan_topic
from kmirror.state.links import LinkStore, mirror_not_found
from kmirror.state.paths import Home
from kmirror.state.runtime import RunFiles

DETAILED: Final = 10_000
"""So many differences of a topic are kept in full; of later ones those at neighbouring offsets are kept as one."""

_FOLLOW_S: Final = 1.0
_TOLD_EVERY_S: Final = 0.2


class Result(StrEnum):
    SAME = "same"
    DIFFERENT = "different"
    FAILED = "failed"
    """Could not be compared, or not to the end."""


@dataclass(frozen=True, slots=True)
class Progress:
    """Of all topics together, so far; `total` grows with `--follow`."""

    offsets: int
    total: int
    records: int
    size: int
    differences: int
    seconds: float


@dataclass(slots=True)
class TopicFindings:
    """What is known of one topic. Grows while it is compared."""

    topic: str
    source_topic: str
    status: str
    ends: tuple[int, ...] | None = None
    planned: int = 0
    offsets: int = 0
    records: int = 0
    size: int = 0
    not_copied: int = 0
    differing: int = 0
    """Offsets and bounds that differ."""
    differences: list[Difference] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    lost: list[LostGap] = field(default_factory=list)
    error: KmirrorError | None = None

    @property
    def result(self) -> Result:
        if self.error is not None:
            return Result.FAILED
        return Result.DIFFERENT if self.differing else Result.SAME

    def add(self, difference: Difference) -> None:
        self.differing += difference.count
        last = self.differences[-1] if self.differences else None
        if len(self.differences) < DETAILED or last is None:
            self.differences.append(difference)
        elif _continues(last, difference):
            self.differences[-1] = replace(last, count=last.count + difference.count)
        else:
            self.differences.append(replace(difference, source=None, destination=None))


def _continues(last: Difference, difference: Difference) -> bool:
    if last.offset is None or difference.offset is None:
        return False
    follows = (last.partition, last.offset + last.count) == (difference.partition, difference.offset)
    return follows and last.what == difference.what and last.level is difference.level


class _Watch:
    """Writes into the findings of the topic that is compared, and tells how far it is."""

    def __init__(
        self, tell: Callable[[Progress], None], interrupted: Callable[[], bool], timeout_s: float | None
    ) -> None:
        self.all: list[TopicFindings] = []
        self.now: TopicFindings | None = None
        self._tell = tell
        self._interrupted = interrupted
        self._began = time.monotonic()
        self._deadline = None if timeout_s is None else self._began + timeout_s
        self._told = 0.0

    @property
    def late(self) -> bool:
        return self._deadline is not None and time.monotonic() > self._deadline

    def compared(self, offsets: int, records: int, size: int) -> None:
        assert self.now
        self.now.offsets += offsets
        self.now.records += records
        self.now.size += size
        self.tell()

    def found(self, difference: Difference) -> None:
        assert self.now
        self.now.add(difference)

    def skipped(self, partition: int, offsets: range) -> None:
        assert self.now
        self.now.offsets += len(offsets)
        told = f"offsets {offsets.start} to {offsets.stop - 1} were removed while they were compared"
        self.now.notes.append(f"partition {partition}: {told}")

    def removed(self, partition: int, records: int) -> None:
        assert self.now
        if records:
            self.now.notes.append(f"partition {partition}: compaction has removed {records:,} records at one side only")

    def ended(self) -> bool:
        return self._interrupted() or self.late

    def tell(self) -> None:
        now = time.monotonic()
        if now - self._told < _TOLD_EVERY_S:
            return
        self._told = now
        self._tell(
            Progress(
                offsets=sum(f.offsets for f in self.all),
                total=sum(f.planned for f in self.all),
                records=sum(f.records for f in self.all),
                size=sum(f.size for f in self.all),
                differences=sum(f.differing for f in self.all),
                seconds=now - self._began,
            )
        )


@dataclass(frozen=True, slots=True)
class Options:
    selection: Selection = field(default_factory=Selection)
    independent: bool = False
    follow: bool = False
    timeout_s: float | None = None


def verify_mirrors(
    home: Home,
    link: str,
    topics: Sequence[str],
    options: Options,
    *,
    tell: Callable[[Progress], None],
    interrupted: Callable[[], bool],
) -> list[TopicFindings]:
    """Raises NotFound for the link; what hinders a topic is in its findings, and the others go on.

    `interrupted` is asked often: once it says so, the comparison ends with what was found.
    """
    store = LinkStore(home)
    watch = _Watch(tell, interrupted, options.timeout_s)
    known = store.get(link).mirrors
    for topic in dict.fromkeys(topics):
        mirror = known.get(topic)
        watch.all.append(TopicFindings(topic, mirror.source_topic if mirror else "", mirror.state if mirror else ""))
    while True:
        _round(home, store.get(link), options, watch)
        if not options.follow or watch.ended() or not any(_goes_on(found) for found in watch.all):
            break
        watch.tell()
        time.sleep(_FOLLOW_S / 2)
    if watch.late and not options.follow:
        for findings in watch.all:
            if findings.error is None and (findings.ends is None or findings.offsets < findings.planned):
                findings.error = NotReached(
                    f'topic "{findings.topic}" was not compared to its end within {options.timeout_s:g} s',
                    hint="Allow more with `--timeout`, or compare a part with `--sample` or `--since`.",
                )
    return watch.all


def _goes_on(findings: TopicFindings) -> bool:
    return findings.error is None and findings.status != MirrorState.STOPPED


def _round(home: Home, link: Link, options: Options, watch: _Watch) -> None:
    """Plans all first, so that the time that is left can be told; then compares."""
    gaps = RunFiles(home, link.name).read_gaps()
    plans: list[tuple[TopicFindings, Planned]] = []
    for findings in watch.all:
        if findings.error is None and not watch.ended():
            try:
                plans.append((findings, _plan(link, findings, options.selection, gaps)))
            except KmirrorError as e:
                findings.error = e
    addresses = Addresses(link.source, link.source_cluster_id, link.destination, link.destination_cluster_id)
    for findings, planned in plans:
        if watch.ended():
            return
        watch.now = findings
        if not any(partition.spans for partition in planned.plan.partitions):
            continue
        try:
            if options.independent:
                compare_consumed(link.source, link.destination, planned.plan, watch)
            else:
                compare_batches(addresses, planned.plan, watch)
        except KmirrorError as e:
            findings.error = e


def _plan(link: Link, findings: TopicFindings, selection: Selection, gaps: Sequence[LostGap]) -> Planned:
    mirror = link.mirrors.get(findings.topic)
    if mirror is None:
        raise mirror_not_found(link.name, findings.topic)
    lost = [gap for gap in gaps if gap.topic == mirror.topic]
    planned = plan_topic(mirror, selection, ask(link, mirror, selection.since_ms), lost, findings.ends)
    for difference in planned.found:
        findings.add(difference)
    findings.notes += planned.notes if findings.ends is None else ()
    findings.lost = lost
    findings.status = mirror.state
    findings.ends = planned.ends
    findings.not_copied = planned.not_copied
    findings.planned += sum(partition.offsets for partition in planned.plan.partitions)
    return planned
