"""How a link's partitions are shared among its workers, and how what they tell becomes one again. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final
from zlib import crc32

from kmirror.model.settings import UNLIMITED, LinkSettings
from kmirror.model.states import MirrorState
from kmirror.model.status import MirrorStatus, PartitionState, PartitionStatus

_WORST_FIRST: Final = (MirrorState.LINK_FAILED, MirrorState.SOURCE_UNAVAILABLE)
"""What a mirror is seen to be if one of its partitions is."""


def owner_of(topic: str, partition: int, workers: int) -> int:
    """Which worker copies this partition, from 0 on: those of one topic go round, so that a hot one is shared too.

    The same for ever in a run: what is known of a partition, such as since when nothing late can land there, has one
    place.
    """
    return (crc32(topic.encode()) + partition) % workers


def share_of(settings: LinkSettings, workers: int) -> LinkSettings:
    """The settings of one of so many: an equal part of what the link may hold, and of what it may fetch a second."""
    return replace(
        settings,
        fetch_buffer_bytes=max(1, settings.fetch_buffer_bytes // workers),
        io_max_bytes_per_s=io_limits(settings.io_max_bytes_per_s, [Pace()] * workers)[0],
    )


@dataclass(frozen=True, slots=True)
class Pace:
    """What a worker copied a second of late, and whether the limit held it up."""

    bytes_per_s: float = 0.0
    is_braked: bool = False


def io_limits(limit: int, paces: Sequence[Pace]) -> list[int]:
    """Bytes a second that each worker may fetch, together no more than `limit`.

    Where the limit holds up some and not others, these keep what they use and half as much again, lest their part be
    wasted, and those share the rest.
    """
    if limit == UNLIMITED:
        return [UNLIMITED] * len(paces)
    equal = limit / len(paces)
    braked = sum(pace.is_braked for pace in paces)
    if not braked:
        return [max(1, int(equal))] * len(paces)
    kept = [min(equal, max(equal / 10, 1.5 * pace.bytes_per_s)) for pace in paces]
    rest = (limit - sum(part for part, pace in zip(kept, paces, strict=True) if not pace.is_braked)) / braked
    return [max(1, int(rest if pace.is_braked else part)) for part, pace in zip(kept, paces, strict=True)]


def joined(own: MirrorStatus, partitions: int, parts: Sequence[MirrorStatus]) -> MirrorStatus:
    """`own` with the partitions, of which there are so many, as the workers tell of them in `parts`."""
    known: Mapping[int, PartitionStatus] = {p.partition: p for part in parts for p in part.partitions}
    all_of_them = tuple(
        known.get(number) or PartitionStatus(number, PartitionState.OPENING) for number in range(partitions)
    )
    state = own.state
    if state is MirrorState.ACTIVE:
        told = {part.state for part in parts}
        state = next((worst for worst in _WORST_FIRST if worst in told), state)
    return replace(own, state=state, partitions=all_of_them)
