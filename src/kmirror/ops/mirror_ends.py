"""How far a mirror is from its source, asked at both clusters: the table of promote and failover."""

from dataclasses import dataclass
from typing import Final

from kmirror.admin.cluster import ClusterAdmin
from kmirror.errors import ClusterError, Conflict, KmirrorError, NotFound
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


def stable_ends(link: Link, mirror: Mirror, timeout_s: float = 10.0) -> tuple[int, ...]:
    """The source's ends now, of all its partitions; raises Unreachable, NotFound, Conflict (it is another topic)."""
    check_reachable(link.source_bootstrap, "source", min(timeout_s, 5.0))
    source = ClusterAdmin(link.source_bootstrap, "source", timeout_s=timeout_s)
    found = source.find_topic(mirror.source_topic)
    if found is None:
        raise NotFound(
            f'source topic "{mirror.source_topic}" not found on the source cluster of link "{link.name}"',
            hint=f"Use `kmirror mirror failover {mirror.topic} --link {link.name}`, which needs no source.",
        )
    if found.topic_id != mirror.source_topic_id:
        raise Conflict(
            f'source topic "{mirror.source_topic}" was deleted and created again since the mirror was made',
            hint=f"Use `kmirror mirror failover {mirror.topic} --link {link.name}`, which keeps what was copied.",
        )
    return source.stable_ends(mirror.source_topic, found.partitions)


def log_ends(link: Link, mirror: Mirror) -> tuple[int, ...]:
    """Where the mirror is, which is where its log ends; raises Unreachable, ClusterError where the topic is gone."""
    check_reachable(link.destination_bootstrap, "destination")
    destination = ClusterAdmin(link.destination_bootstrap, "destination")
    found = destination.find_topic(mirror.topic)
    if found is None or found.topic_id != mirror.destination_topic_id:
        raise ClusterError(
            f'mirror topic "{mirror.topic}" is gone from the destination cluster',
            hint=f"Mirror it anew: `kmirror link delete {link.name} --force`, or another mirror topic name.",
            code="UNKNOWN_TOPIC_OR_PARTITION_ERROR",
        )
    return destination.log_ends(mirror.topic, found.partitions)


def last_known_ends(seen: Seen, mirror: Mirror) -> SourceEnds:
    """The source's ends now, or as the runner last saw them. Never raises: a failover must not wait for a source."""
    try:
        return SourceEnds(stable_ends(seen.link, mirror, FAILOVER_WAIT_S))
    except KmirrorError:  # dead, or not the topic it was: what was seen before it went is what counts
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
