"""`mirror groups`: what was synced of each consumer group, and where it would go on at the destination right now."""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from kmirror.admin.cluster import ClusterAdmin
from kmirror.admin.groups import GroupAdmin
from kmirror.errors import KmirrorError, NotFound
from kmirror.model.filters import GROUP_FILTERS, parse_filters
from kmirror.model.group_offsets import Committed, LogBounds, Place, Synced, landing
from kmirror.model.link import Link
from kmirror.model.settings import is_on, value_of
from kmirror.model.states import MirrorState
from kmirror.ops.clock import now_ms
from kmirror.ops.mirror_rows import UNKNOWN
from kmirror.state.group_offsets import KnownGroups, read_groups
from kmirror.state.links import LinkStore, mirror_not_found
from kmirror.state.paths import Home
from kmirror.state.runtime import RunFiles
from kmirror.tasks.offset_round import read_source
from kmirror.tasks.offset_sync import named_at_destination
from kmirror.wire.reach import check_reachable

_SOURCE_WAIT_S: Final = 3.0
"""For a source that may be dead: that is when people look here."""


class Standing(StrEnum):
    """How a group stands in one partition of a mirror."""

    SYNCED = "SYNCED"
    """It would go on exactly where it is at the source."""
    BEHIND = "BEHIND"
    """It has committed since at the source; the next round brings that."""
    AT_LOG_END = "AT_LOG_END"
    """At the source it is further than the mirror: it would go on at the mirror's end, with the next record written."""
    IN_USE = "IN_USE"
    """It has members at the destination: kmirror leaves it alone."""
    MOVED = "MOVED"
    """It was moved at the destination, and has not committed at the source since: kmirror leaves it alone."""
    NOT_SYNCED = "NOT_SYNCED"
    """Nothing is committed at the destination: auto.offset.reset would decide."""
    OUT_OF_RANGE = "OUT_OF_RANGE"
    """What is committed lies outside of the log: auto.offset.reset would decide."""


@dataclass(frozen=True, slots=True)
class GroupRow:
    """One partition of one group. Offsets that are not known, or do not exist, are -1; so is a time."""

    link_name: str
    consumer_group: str
    destination_group: str
    mirror_topic_name: str
    source_topic_name: str
    mirror_status: str
    partition: int
    status: str
    source_offset: int
    synced_offset: int
    synced_time_ms: int
    mirror_log_end_offset: int
    landing_offset: int
    records_read_again: int
    active_at_destination: bool


@dataclass(frozen=True, slots=True)
class GroupList:
    """`source_error`: why the source could not be asked; its offsets are those of `as_of_ms` then."""

    rows: tuple[GroupRow, ...]
    enabled: bool
    at_ms: int
    as_of_ms: int | None
    source_error: str = ""


def list_groups(home: Home, name: str, groups: Sequence[str] = (), topic: str | None = None) -> GroupList:
    """Raises NotFound for link, topic or group, Unreachable where the destination does not answer."""
    link = LinkStore(home).get(name)
    if topic is not None and topic not in link.mirrors:
        raise mirror_not_found(name, topic)
    known = read_groups(RunFiles(home, name))
    at_source, error = _at_source(link, known)
    known_places = {group: dict(places) for group, places in known.offsets.items()}
    chosen = sorted(group for group in at_source.keys() | known_places.keys() if not groups or group in groups)
    missing = sorted(set(groups) - set(chosen))
    if missing:
        raise NotFound(
            f'consumer group "{missing[0]}" has no offset in a mirror topic of link "{name}"',
            hint=f"See those that have with `kmirror mirror groups {name}`.",
        )
    table = _Table(link, chosen, at_source, known_places)
    rows = tuple(row for row in table.rows() if topic is None or row.mirror_topic_name == topic)
    enabled = is_on(link.configs, "consumer.offset.sync.enable")
    return GroupList(rows, enabled, now_ms(), known.at_ms, error)


def _at_source(link: Link, known: KnownGroups) -> tuple[Mapping[str, Mapping[Place, Committed]], str]:
    """Asked just now; or what was last seen, and why it could not be asked."""
    seen = {group: {place: at.source for place, at in places.items()} for group, places in known.offsets.items()}
    filters = parse_filters(value_of(link.configs, "consumer.offset.group.filters"), GROUP_FILTERS)
    topics = defaultdict(list)
    for mirror in link.mirrors.values():
        if mirror.state is not MirrorState.STOPPED:
            topics[mirror.source_topic].append(mirror.topic)
    try:
        check_reachable(link.source, "source", _SOURCE_WAIT_S)
        source = GroupAdmin(ClusterAdmin(link.source, "source", timeout_s=_SOURCE_WAIT_S))
        found = read_source(source, topics, lambda group: filters.chooses(group) or group in seen)
    except KmirrorError as e:
        return seen, e.message
    return {**seen, **{group: {**seen.get(group, {}), **places} for group, places in found.wanted.items()}}, ""


class _Table:
    """Puts both clusters and what is remembered beside each other."""

    def __init__(
        self,
        link: Link,
        groups: Collection[str],
        at_source: Mapping[str, Mapping[Place, Committed]],
        known: Mapping[str, Mapping[Place, Synced]],
    ) -> None:
        self._link = link
        self._groups = groups
        self._at_source = at_source
        self._known = known
        self._named = named_at_destination(link)
        check_reachable(link.destination, "destination")
        destination = GroupAdmin(ClusterAdmin(link.destination, "destination"))
        self._members = destination.groups()
        self._there = destination.committed([self._named(group) for group in groups])
        self._bounds = destination.log_bounds({place for group in groups for place in self._places(group)})

    def rows(self) -> Iterator[GroupRow]:
        for group in self._groups:
            for place in self._places(group):
                yield self._row(group, place)

    def _places(self, group: str) -> list[Place]:
        places = {**self._at_source.get(group, {}), **self._known.get(group, {})}
        return sorted(place for place in places if place[0] in self._link.mirrors)

    def _row(self, group: str, place: Place) -> GroupRow:
        mirror = self._link.mirrors[place[0]]
        name = self._named(group)
        source = self._at_source.get(group, {}).get(place)
        synced = self._known.get(group, {}).get(place)
        there = self._there.found.get(name, {}).get(place)
        bounds = self._bounds.get(place)
        lands = landing(there, bounds.start, bounds.end) if bounds else None
        in_use = self._members.get(name, False)
        return GroupRow(
            link_name=self._link.name,
            consumer_group=group,
            destination_group=name,
            mirror_topic_name=mirror.topic,
            source_topic_name=mirror.source_topic,
            mirror_status=mirror.state,
            partition=place[1],
            status=standing(source, synced, there, bounds, in_use=in_use),
            source_offset=source.offset if source else UNKNOWN,
            synced_offset=synced.offset if synced else UNKNOWN,
            synced_time_ms=synced.synced_ms if synced else UNKNOWN,
            mirror_log_end_offset=bounds.end if bounds else UNKNOWN,
            landing_offset=UNKNOWN if lands is None else lands,
            records_read_again=_again(source, lands, bounds),
            active_at_destination=in_use,
        )


def standing(
    source: Committed | None, synced: Synced | None, there: Committed | None, bounds: LogBounds | None, *, in_use: bool
) -> Standing:
    if in_use:
        return Standing.IN_USE
    if there is None or bounds is None:
        return Standing.NOT_SYNCED
    if landing(there, bounds.start, bounds.end) is None:
        return Standing.OUT_OF_RANGE
    if source is None or there.offset == source.offset:
        return Standing.SYNCED
    if synced is not None and synced.source == source and synced.offset != there.offset:
        return Standing.MOVED
    if source.offset > bounds.end == there.offset:
        return Standing.AT_LOG_END
    return Standing.BEHIND


def _again(source: Committed | None, lands: int | None, bounds: LogBounds | None) -> int:
    """Offsets that the group has behind it at the source, and would be given again."""
    if source is None or lands is None or bounds is None:
        return UNKNOWN
    return max(0, min(source.offset, bounds.end) - lands)
