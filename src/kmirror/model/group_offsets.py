"""Committed offsets of consumer groups at both clusters, and the rule by which a mirror's follow the source's.

Because a mirror has its source's offsets, a committed offset is the same number on both sides. Only two things are to
be decided: how far the mirror is, and who moved the group last.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final, Generic, TypeVar

from kmirror.errors import KmirrorError

T = TypeVar("T")

REFRESH_MS: Final = 6 * 3600 * 1000
"""A group without members loses its offsets offsets.retention.minutes (7 days) after its last commit, also one whose
consumers live at the source and have nothing to do there. So what stands is committed again, long before that."""

KEPT_MS: Final = 7 * 24 * 3600 * 1000
"""So long it is remembered what was synced of a group that is at the source no more."""

IN_USE: Final = "CONSUMER_GROUP_IN_USE_ERROR"
"""Cluster Linking's name of a refusal: a group with members takes commits of those alone."""

Place = tuple[str, int]
"""A mirror topic, and a partition of it."""


@dataclass(frozen=True, slots=True)
class Committed:
    """The next offset that a group will read, with the string that its consumer left beside it."""

    offset: int
    metadata: str = ""


@dataclass(frozen=True, slots=True)
class Synced:
    """What was committed at the destination at `synced_ms` (ms since the epoch).

    `source` is what the group had at the source then; `offset` is less where the mirror ended before that.
    """

    source: Committed
    offset: int
    synced_ms: int


@dataclass(frozen=True, slots=True)
class LogBounds:
    """Of one partition: its first offset, and the one that comes next."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class PerGroup(Generic[T]):
    """What a cluster answered, by group; and what it refused, each with the reason."""

    found: dict[str, T] = field(default_factory=dict)
    refused: dict[str, KmirrorError] = field(default_factory=dict)


GroupOffsets = Mapping[str, Mapping[Place, Synced]]
"""By the group's name at the source."""


class Step(StrEnum):
    COMMIT = "commit"
    HOLDS = "holds"
    """The destination has it already."""
    MOVED = "moved"
    """The group was moved at the destination, and has not committed at the source since: it is left where it is."""


def next_step(
    source: Committed, last: Synced | None, there: Committed | None, log_end: int, now_ms: int
) -> tuple[Step, Committed]:
    """What to do for one partition of one group that has no member at the destination.

    `last` is what was synced last, `there` what the destination has now, `log_end` where the mirror ends. The offset is
    never beyond that: a consumer would be out of range, and after a failover it would pass over what is written next.
    """
    wanted = replace(source, offset=min(source.offset, log_end))
    if there is None:
        return Step.COMMIT, wanted
    if last is not None and last.source == source:
        if there.offset != last.offset:
            return Step.MOVED, there
        if now_ms - last.synced_ms >= REFRESH_MS:
            return Step.COMMIT, wanted
    return (Step.HOLDS if there == wanted else Step.COMMIT), wanted


def at_rest(source: Committed, last: Synced | None, now_ms: int) -> bool:
    """Nothing is to be done as long as the destination knows the group, and what it has there need not be asked."""
    if last is None or last.source != source:
        return False
    return last.offset == source.offset and now_ms - last.synced_ms < REFRESH_MS


def landing(there: Committed | None, log_start: int, log_end: int) -> int | None:
    """Where a consumer of the group would begin at the destination; None where its auto.offset.reset decides."""
    if there is None or not log_start <= there.offset <= log_end:
        return None
    return there.offset
