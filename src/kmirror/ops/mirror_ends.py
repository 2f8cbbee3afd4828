"""How far a mirror is from its source, asked at both clusters: the table of promote and failover."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from kmirror.admin.cluster import ClusterAdmin, TopicInfo
from kmirror.admin.many_topics import Offsets, find_topics, log_ends_of, stable_ends_of
from kmirror.errors import ClusterError, Conflict, KmirrorError, NotFound, Unreachable
from kmirror.model.each import Each, for_each, split
from kmirror.model.link import Link
from kmirror.model.mirror import Mirror
from kmirror.ops.seen import Seen
from kmirror.ops.verb_rows import UNKNOWN, VerbRow
from kmirror.wire.reach import check_reachable

FAILOVER_WAIT_S: Final = 3.0
"""For the source at a failover: it is most likely dead, and the user is in a hurry."""


@dataclass(frozen=True, slots=True)
class SourceEnds:
    """Last stable offsets by partition; `as_of_ms` None: asked just now. An offset None: not known."""

    ends: tuple[int | None, ...]
    as_of_ms: int | None = None

    @property
    def known(self) -> bool:
        return any(end is not None for end in self.ends)


def stable_ends(link: Link, mirrors: Iterable[Mirror], timeout_s: float = 10.0) -> Each[Offsets]:
    """By mirror topic the source's ends now, of all its partitions.

    Errors are Unreachable, NotFound, and Conflict where it is another topic.
    """
    wanted = {mirror.topic: mirror for mirror in mirrors}
    try:
        check_reachable(link.source, "source", min(timeout_s, 5.0))
    except Unreachable as e:
        return dict.fromkeys(wanted, e)
    source = ClusterAdmin(link.source, "source", timeout_s=timeout_s)
    found = find_topics(source, [mirror.source_topic for mirror in wanted.values()])
    same, errors = split(for_each(wanted, lambda topic: _same_source(link, wanted[topic], found)))
    names = {topic: wanted[topic].source_topic for topic in same}
    ends = stable_ends_of(source, {names[topic]: info.partitions for topic, info in same.items()})
    return {**errors, **{topic: ends[name] for topic, name in names.items()}}


def _same_source(link: Link, mirror: Mirror, topics: Mapping[str, TopicInfo | KmirrorError]) -> TopicInfo:
    found = topics[mirror.source_topic]
    if isinstance(found, NotFound):
        raise NotFound(
            f'source topic "{mirror.source_topic}" not found on the source cluster of link "{link.name}"',
            hint=f"Use `kmirror mirror failover {mirror.topic} --link {link.name}`, which needs no source.",
        )
    if isinstance(found, KmirrorError):
        raise found
    if found.topic_id != mirror.source_topic_id:
        raise Conflict(
            f'source topic "{mirror.source_topic}" was deleted and created again since the mirror was made',
            hint=f"Use `kmirror mirror failover {mirror.topic} --link {link.name}`, which keeps what was copied.",
        )
    return found


def log_ends(link: Link, mirrors: Iterable[Mirror]) -> Each[Offsets]:
    """Where each mirror is, which is where its log ends. Errors: Unreachable, ClusterError where the topic is gone."""
    wanted = {mirror.topic: mirror for mirror in mirrors}
    try:
        check_reachable(link.destination, "destination")
    except Unreachable as e:
        return dict.fromkeys(wanted, e)
    destination = ClusterAdmin(link.destination, "destination")
    found = find_topics(destination, list(wanted))
    same, errors = split(for_each(wanted, lambda topic: _same_mirror(link, wanted[topic], found[topic])))
    return {**errors, **log_ends_of(destination, {topic: info.partitions for topic, info in same.items()})}


def _same_mirror(link: Link, mirror: Mirror, found: TopicInfo | KmirrorError) -> TopicInfo:
    if isinstance(found, KmirrorError) and not isinstance(found, NotFound):
        raise found
    if isinstance(found, NotFound) or found.topic_id != mirror.destination_topic_id:
        raise ClusterError(
            f'mirror topic "{mirror.topic}" is gone from the destination cluster',
            hint=f"Mirror it anew: `kmirror link delete {link.name} --force`, or another mirror topic name.",
            code="UNKNOWN_TOPIC_OR_PARTITION_ERROR",
        )
    return found


def last_known_ends(seen: Seen, mirrors: Iterable[Mirror]) -> dict[str, SourceEnds]:
    """The source's ends now, or as the runner last saw them. Never raises: a failover must not wait for a source."""
    wanted = {mirror.topic: mirror for mirror in mirrors}
    now, silent = split(stable_ends(seen.link, wanted.values(), FAILOVER_WAIT_S))
    asked = {topic: SourceEnds(ends) for topic, ends in now.items()}
    # Dead, or not the topic it was: what was seen before it went is what counts.
    return asked | {topic: _last_seen_ends(seen, wanted[topic]) for topic in silent}


def _last_seen_ends(seen: Seen, mirror: Mirror) -> SourceEnds:
    parts = seen.partitions(mirror)
    fetched = [p.fetched_ms for p in parts if p and p.fetched_ms is not None]
    as_of_ms = min(fetched, default=seen.status.updated_ms if seen.status else 0)
    return SourceEnds(tuple(p.source_end if p else None for p in parts), as_of_ms)


def rows(mirror: Mirror, ends: tuple[int | None, ...], reached: tuple[int, ...], state: str) -> tuple[VerbRow, ...]:
    count = max(len(ends), len(reached), mirror.partitions)
    return tuple(_row(mirror.topic, n, _at(ends, n), _at(reached, n), state) for n in range(count))


def _row(topic: str, number: int, end: int | None, reached: int | None, state: str) -> VerbRow:
    at = 0 if reached is None else reached  # a partition that the mirror does not have yet
    return VerbRow(
        topic,
        number,
        partition_mirror_lag=UNKNOWN if end is None else max(0, end - at),
        last_source_fetch_offset=at,
        mirror_status=state,
        target_offset=UNKNOWN if end is None else end,
    )


def _at(offsets: tuple[int | None, ...], number: int) -> int | None:
    return offsets[number] if number < len(offsets) else None
