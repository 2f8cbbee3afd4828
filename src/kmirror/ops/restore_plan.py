"""What `mirror truncate-and-restore` would do: from which offsets the old source differs, and what it alone has."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from kmirror.admin.cluster import ClusterAdmin
from kmirror.admin.verify import Reader
from kmirror.engine.verify import Addresses, compare_batches
from kmirror.errors import Conflict
from kmirror.model.link import Link
from kmirror.model.mirror import Mirror
from kmirror.model.states import MirrorState
from kmirror.model.verification import Difference
from kmirror.ops.verify_plan import Facts, Selection, ask, plan_topic

UNKNOWN: Final = -1
_OVER: Final = frozenset({MirrorState.STOPPED, MirrorState.FAILED})


@dataclass(frozen=True, slots=True)
class PartitionCut:
    """One partition of the old source: it is as the new one up to offset `cut_at`.

    `older` are its offsets below where the new source's log begins, `later` those from `cut_at` on.
    """

    partition: int
    cut_at: int
    older: range
    later: range

    @property
    def spans(self) -> tuple[range, ...]:
        """All offsets whose records only this side has."""
        return tuple(span for span in (self.older, self.later) if span)


@dataclass(frozen=True, slots=True)
class RestorePlan:
    """`later` and `older` are the records to be saved, by partition.

    `adopt`: the topic is a beginning of the new source, it can go on as it is. Else it is copied anew: about
    `recopy_bytes` in `recopy_s` seconds, at the rate at which both logs were read (-1: not known).
    """

    cuts: tuple[PartitionCut, ...]
    later: tuple[int, ...]
    older: tuple[int, ...]
    adopt: bool
    recopy_bytes: int = UNKNOWN
    recopy_s: float = UNKNOWN


class _FirstDifferences:
    """A Watcher that keeps where each partition first differs."""

    def __init__(self) -> None:
        self.first: dict[int, int] = {}
        self.offsets = 0
        self.size = 0

    def compared(self, offsets: int, records: int, size: int) -> None:  # noqa: ARG002
        self.offsets += offsets
        self.size += size

    def found(self, difference: Difference) -> None:
        if difference.partition is not None and difference.offset is not None:
            known = self.first.get(difference.partition, difference.offset)
            self.first[difference.partition] = min(known, difference.offset)

    def skipped(self, partition: int, offsets: range) -> None:
        """Retention took them: nothing is left to save."""

    def removed(self, partition: int, records: int) -> None:
        """Compaction took them on one side."""

    def ended(self) -> bool:
        return False


def plan_restore(link: Link, mirror: Mirror) -> RestorePlan:
    """Compares both logs as far as the mirror went, and counts what the old source alone has. Blocks.

    Raises Unreachable, NotFound, and Conflict where the topics are not those of the mirror, or a transaction is open.
    """
    source = ClusterAdmin(link.source, "source")
    facts = ask(link, mirror, None)
    refuse_open_transaction(source, mirror.source_topic, len(facts.source_ends))
    planned = plan_topic(mirror, Selection(ignore_log_start=True), facts, ())
    watcher = _FirstDifferences()
    began = time.monotonic()
    addresses = Addresses(link.source, link.source_cluster_id, link.destination, link.destination_cluster_id)
    if any(partition.spans for partition in planned.plan.partitions):
        compare_batches(addresses, planned.plan, watcher)
    took = time.monotonic() - began
    cuts = cuts_of(mirror.end_offsets, facts, watcher.first)
    later, older = _counted(link, mirror.source_topic, cuts)
    adopt = can_be_adopted(cuts, facts)
    return RestorePlan(cuts, later, older, adopt, *_effort(facts, watcher, took, adopt=adopt))


def refuse_open_transaction(source: ClusterAdmin, topic: str, partitions: int) -> tuple[int, ...]:
    """The source's log ends; raises Conflict where what is below is not decided yet."""
    stable = source.stable_ends(topic, partitions)
    ends = source.log_ends(topic, partitions)
    for number, (decided, end) in enumerate(zip(stable, ends, strict=True)):
        if decided < end:
            raise Conflict(
                f'source topic "{topic}" is being written to: '
                f"partition {number} has undecided offsets from {decided} to {end - 1}",
                hint="Stop its producers, and wait until their transactions end or abort them with "
                "`kafka-transactions.sh`.",
            )
    return ends


def cuts_of(end_offsets: Sequence[int], facts: Facts, first: Mapping[int, int]) -> tuple[PartitionCut, ...]:
    """By partition of the old source; `first` is where a comparison found the first difference, if it found one."""
    cuts = []
    for number, (start, end) in enumerate(zip(facts.source_starts, facts.source_ends, strict=True)):
        known = number < len(end_offsets) and number < len(facts.ends)
        cut_at = min(end_offsets[number], facts.ends[number], first.get(number, end)) if known else 0
        cut_at = min(max(cut_at, start), end)
        begins = facts.starts[number] if known else 0
        cuts.append(PartitionCut(number, cut_at, range(start, min(begins, cut_at)), range(cut_at, end)))
    return tuple(cuts)


def can_be_adopted(cuts: Sequence[PartitionCut], facts: Facts) -> bool:
    """Whether the old source is a beginning of the new one, so that a mirror can go on from where it ends."""
    if len(cuts) > len(facts.ends):
        return False
    return all(not cut.later and cut.cut_at >= facts.starts[cut.partition] for cut in cuts)


def _counted(link: Link, topic: str, cuts: Sequence[PartitionCut]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    reader = Reader(link.source, topic, "read_committed", None)
    try:
        later = tuple(sum(1 for _ in reader.read(cut.partition, cut.later)) for cut in cuts)
        older = tuple(sum(1 for _ in reader.read(cut.partition, cut.older)) for cut in cuts)
    finally:
        reader.close()
    return later, older


def _effort(facts: Facts, watcher: _FirstDifferences, took: float, *, adopt: bool) -> tuple[int, float]:
    """(bytes, seconds) of the copy: what the compared part weighed and took, times how much there is to copy."""
    begins: Sequence[int] = facts.starts
    if adopt:
        begins = [facts.source_ends[n] if n < len(facts.source_ends) else start for n, start in enumerate(facts.starts)]
    offsets = sum(max(0, end - begin) for begin, end in zip(begins, facts.ends, strict=True))
    if offsets == 0:
        return 0, 0.0
    if watcher.offsets == 0:
        return UNKNOWN, UNKNOWN
    share = offsets / watcher.offsets
    return round(watcher.size * share), took * share


def check_alone(links: Mapping[str, Link], link: Link, topic: str, reverse: str) -> None:
    """Raises Conflict where another mirror reads the topic that is to go, or writes to it."""
    for other in links.values():
        for mirror in other.mirrors.values():
            if mirror.state in _OVER:
                continue
            read = other.source_cluster_id == link.source_cluster_id and mirror.source_topic == topic
            written = other.destination_cluster_id == link.source_cluster_id and mirror.topic == topic
            if read or (written and other.name != reverse):
                raise Conflict(
                    f'topic "{topic}" still has a live mirror: "{mirror.topic}" of link "{other.name}" '
                    f"({mirror.state})",
                    hint=f"End it first: `kmirror mirror failover {mirror.topic} --link {other.name}`.",
                )
