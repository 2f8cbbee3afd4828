"""What `mirror verify` compares of a mirror: which offsets, and what is told by log starts and ends alone."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from kmirror.admin.cluster import ClusterAdmin, TopicInfo
from kmirror.errors import Conflict, NotFound
from kmirror.model.ledger import LostGap
from kmirror.model.link import Link
from kmirror.model.mirror import Mirror
from kmirror.model.states import MirrorState
from kmirror.model.verification import Difference, Level, PartitionPlan, TopicPlan, What
from kmirror.wire.reach import check_reachable

_RUN: Final = 10_000
_RUNS: Final = 50  # of a small partition: a sample of one run would hardly be one


@dataclass(frozen=True, slots=True)
class Selection:
    """Which offsets: from `from_offset` on, of records not older than `since_ms`, a random `sample` percent."""

    from_offset: int | None = None
    since_ms: int | None = None
    sample: float | None = None
    seed: int = 0
    ignore_log_start: bool = False

    @property
    def whole(self) -> bool:
        """Log starts belong to what was asked for."""
        return self.from_offset is None and self.since_ms is None


@dataclass(frozen=True, slots=True)
class Facts:
    """What both clusters say: by partition log starts, last stable offsets and, of the mirror, log ends."""

    source_starts: Sequence[int]
    source_ends: Sequence[int]
    starts: Sequence[int]
    stable_ends: Sequence[int]
    ends: Sequence[int]
    since: Sequence[int] | None
    """Where the source's records of the time begin that was asked for; -1: there are none."""
    compacted: bool


@dataclass(frozen=True, slots=True)
class Planned:
    """`found` are the differences that are known before a record was read, `ends` how far each partition goes.

    `not_copied` counts the source's offsets beyond the ends.
    """

    plan: TopicPlan
    found: tuple[Difference, ...]
    notes: tuple[str, ...]
    ends: tuple[int, ...]
    not_copied: int


def ask(link: Link, mirror: Mirror, since_ms: int | None) -> Facts:
    """Raises Unreachable, NotFound, and Conflict where the topics are not those of the mirror."""
    check_reachable(link.destination, "destination")
    check_reachable(link.source, "source")
    destination = ClusterAdmin(link.destination, "destination")
    source = ClusterAdmin(link.source, "source")
    # The mirror's ends first: one that copies meanwhile can't look ahead of its source.
    ours = _topic(destination, mirror.topic, mirror.destination_topic_id, "mirror topic")
    ends = destination.log_ends(mirror.topic, ours.partitions)
    stable_ends = destination.stable_ends(mirror.topic, ours.partitions)  # lower only if a transaction is open
    theirs = _topic(source, mirror.source_topic, mirror.source_topic_id, "source topic")
    both = ((source, mirror.source_topic), (destination, mirror.topic))
    return Facts(
        source_starts=source.log_starts(mirror.source_topic, theirs.partitions),
        source_ends=source.stable_ends(mirror.source_topic, theirs.partitions),
        starts=destination.log_starts(mirror.topic, ours.partitions),
        stable_ends=stable_ends,
        ends=ends,
        since=None if since_ms is None else source.offsets_at(mirror.source_topic, theirs.partitions, since_ms),
        compacted=any("compact" in admin.topic_configs(name)["cleanup.policy"].value for admin, name in both),
    )


def _topic(cluster: ClusterAdmin, name: str, topic_id: str, role: str) -> TopicInfo:
    found = cluster.find_topic(name)
    if found is None:
        raise NotFound(f'{role} "{name}" is gone', hint="Without it there is nothing to compare.")
    if found.topic_id != topic_id:
        raise Conflict(
            f'{role} "{name}" was deleted and created again since the mirror was made',
            hint="It is another topic now: there is nothing to compare.",
        )
    return found


def plan_topic(
    mirror: Mirror, selection: Selection, facts: Facts, gaps: Sequence[LostGap], before: Sequence[int] | None = None
) -> Planned:
    """`before`: where an earlier comparison ended; only what came since is planned then."""
    theirs, ours = len(facts.source_ends), len(facts.ends)
    stopped = mirror.state is MirrorState.STOPPED
    found: list[Difference] = []
    notes: list[str] = []
    if before is None and (min(theirs, ours) < mirror.partitions if stopped else theirs != ours):
        found.append(Difference(None, None, (What.PARTITIONS,), source=theirs, destination=ours))
    count = min(theirs, ours, mirror.partitions) if stopped else min(theirs, ours)
    if stopped and len(mirror.end_offsets) < count:
        notes.append("where the mirror ended is not recorded: compared up to the lower of both ends")
    ends = tuple(_end(mirror, facts, number) for number in range(count))
    partitions = []
    noise = random.Random(selection.seed)
    for number, end in enumerate(ends):
        if before is None:
            found += _ends_found(facts, number, end)
            if selection.whole:
                _log_start(mirror, facts, number, selection, gaps, found=found, notes=notes)
        start = _start(selection, facts, number, end)
        if before is not None:
            start = max(start, before[number] if number < len(before) else 0)
        offsets = range(start, min(end, facts.ends[number]))
        spans = _spans(offsets, None if before is not None else selection.sample, noise)
        adopted = mirror.adopted_ends[number] if number < len(mirror.adopted_ends) else 0
        spans = _split(spans, adopted)
        partitions.append(PartitionPlan(number, spans, facts.source_ends[number], facts.stable_ends[number], adopted))
    plan = TopicPlan(
        mirror.topic,
        mirror.source_topic,
        mirror.destination_topic_id,
        mirror.source_topic_id,
        tuple(partitions),
        facts.compacted,
    )
    not_copied = 0 if stopped else sum(max(0, facts.source_ends[n] - end) for n, end in enumerate(ends))
    return Planned(plan, tuple(found), tuple(notes), ends, not_copied)


def _end(mirror: Mirror, facts: Facts, number: int) -> int:
    """A promoted topic lives on: what was written to it later is its own."""
    if mirror.state is not MirrorState.STOPPED:
        return facts.ends[number]
    if number < len(mirror.end_offsets):
        return mirror.end_offsets[number]
    return min(facts.ends[number], facts.source_ends[number])


def _ends_found(facts: Facts, number: int, end: int) -> list[Difference]:
    source, stable, reached = facts.source_ends[number], facts.stable_ends[number], facts.ends[number]
    found = []
    if reached < end:
        found.append(Difference(number, None, (What.LOG_END,), source=end, destination=reached))
    elif source < end:
        found.append(Difference(number, None, (What.LOG_END,), source=source, destination=end))
    if stable < min(reached, end):
        found.append(Difference(number, None, (What.LOG_END,), Level.COMMITTED, min(source, end), stable))
    return found


def _log_start(
    mirror: Mirror,
    facts: Facts,
    number: int,
    selection: Selection,
    gaps: Sequence[LostGap],
    *,
    found: list[Difference],
    notes: list[str],
) -> None:
    """A mirror begins where its source does, or where it was told to begin."""
    began = mirror.start_offsets[number] if number < len(mirror.start_offsets) else 0
    source, ours = facts.source_starts[number], facts.starts[number]
    if ours == max(source, began):
        return
    words = f"partition {number}: the source's log starts at {source}, the mirror's at {ours}"
    if mirror.state is MirrorState.STOPPED:
        notes.append(f"{words}: no difference, it is a topic of its own")
    elif mirror.adopted_ends:
        notes.append(f"{words}: no difference, its log was there before the mirror")
    elif any(gap.partition == number and ours <= gap.offset and gap.offset + gap.count <= source for gap in gaps):
        notes.append(f"{words}: retention overran the mirror, see `kmirror gaps`")
    elif selection.ignore_log_start:
        notes.append(words)
    else:
        found.append(Difference(number, None, (What.LOG_START,), source=max(source, began), destination=ours))


def _start(selection: Selection, facts: Facts, number: int, end: int) -> int:
    start = max(facts.source_starts[number], facts.starts[number], selection.from_offset or 0)
    if facts.since is None:
        return start
    since = facts.since[number]
    return max(start, end if since < 0 else since)


def _spans(offsets: range, sample: float | None, noise: random.Random) -> tuple[range, ...]:
    """All of them, or runs at random that are `sample` percent of them."""
    if sample is None or not offsets:
        return (offsets,) if offsets else ()
    size = min(_RUN, max(1, len(offsets) // _RUNS))
    runs = [range(at, min(at + size, offsets.stop)) for at in range(offsets.start, offsets.stop, size)]
    chosen = noise.sample(runs, max(1, round(len(runs) * sample / 100)))
    return tuple(sorted(chosen, key=lambda run: run.start))


def _split(spans: tuple[range, ...], at: int) -> tuple[range, ...]:
    """The same offsets, with no span on both sides of `at`."""
    parts = [part for s in spans for part in (range(s.start, min(s.stop, at)), range(max(s.start, at), s.stop))]
    return tuple(part for part in parts if part)
