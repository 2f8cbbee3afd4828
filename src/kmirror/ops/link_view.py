"""`link list` and `link describe`. Field names are Cluster Linking's JSON keys, ours follow them."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from kmirror.model.link import Link
from kmirror.model.mirror import Mirror
from kmirror.model.settings import SETTINGS, shown
from kmirror.model.states import MirrorState
from kmirror.model.status import PartitionState, PartitionStatus, Throttle
from kmirror.ops.seen import Seen, see
from kmirror.state.links import LinkStore
from kmirror.state.paths import Home


@dataclass(frozen=True, slots=True)
class LinkRow:
    link_name: str
    link_id: str
    topic_name: str
    source_cluster: str
    destination_cluster: str
    remote_cluster: str
    state: str
    error: str
    error_message: str


@dataclass(frozen=True, slots=True)
class LinkDescription:
    link_name: str
    link_id: str
    source_cluster: str
    destination_cluster: str
    remote_cluster: str
    state: str
    error: str
    error_message: str
    mirror_partition_states_count: str
    runner_pid: int | None
    runner_started_ms: int | None
    created_ms: int
    gap_fill: str
    throttled: Mapping[Throttle, float]
    """By what, and for which part of the last seconds."""
    configs: Mapping[str, str]


_PENDING = frozenset(
    {
        MirrorState.PENDING_STOPPED,
        MirrorState.PENDING_MIRROR,
        MirrorState.PENDING_SYNCHRONIZE,
        MirrorState.PENDING_SETUP_FOR_RESTORE,
        MirrorState.PENDING_RESTORE,
    }
)
_TROUBLED = frozenset(
    {PartitionState.FAILED, PartitionState.SOURCE_UNAVAILABLE, PartitionState.DESTINATION_UNAVAILABLE}
)


def list_links(home: Home, *, include_topics: bool = False) -> list[LinkRow]:
    """One row a link; with topics one a mirror, and none for a link that has no mirror."""
    rows = []
    for link in LinkStore(home).all().values():
        seen = see(home, link)
        topics = sorted(link.mirrors) if include_topics else [""]
        rows += [_row(seen, topic) for topic in topics]
    return rows


def describe_link(home: Home, name: str) -> LinkDescription:
    """Raises NotFound."""
    link = LinkStore(home).get(name)
    seen = see(home, link)
    row = _row(seen, "")
    return LinkDescription(
        link_name=row.link_name,
        link_id=row.link_id,
        source_cluster=row.source_cluster,
        destination_cluster=row.destination_cluster,
        remote_cluster=row.remote_cluster,
        state=row.state,
        error=row.error,
        error_message=row.error_message,
        mirror_partition_states_count=_states_count(seen),
        runner_pid=seen.runner.pid if seen.runner else None,
        runner_started_ms=seen.runner.started_ms if seen.runner else None,
        created_ms=link.created_ms,
        gap_fill=link.gap_fill,
        throttled=seen.throttled,
        configs=shown_configs(link),
    )


def shown_configs(link: Link) -> dict[str, str]:
    """The properties that may be printed, sorted: by a list of those that may, never of those that may not."""
    return {key: shown(key, value) for key, value in sorted(link.configs.items()) if key in SETTINGS}


def _row(seen: Seen, topic: str) -> LinkRow:
    trouble = seen.fresh.trouble if seen.fresh else None
    return LinkRow(
        link_name=seen.link.name,
        link_id=seen.link.link_id,
        topic_name=topic,
        source_cluster=seen.link.source_cluster_id,
        destination_cluster=seen.link.destination_cluster_id,
        remote_cluster="",
        state=seen.link_state,
        error=trouble.code if trouble else "",
        error_message=trouble.message if trouble else "",
    )


def _states_count(seen: Seen) -> str:
    counts = Counter(_category(m, p) for m in seen.link.mirrors.values() for p in seen.partitions(m))
    return ", ".join(f"{name}: {number}" for name, number in sorted(counts.items()))


def _category(mirror: Mirror, part: PartitionStatus | None) -> str:
    """Cluster Linking's five categories of a partition."""
    if mirror.state is MirrorState.STOPPED:
        return "NOT_APPLICABLE"
    if mirror.state is MirrorState.FAILED or (part and part.state in _TROUBLED):
        return "IN_ERROR"
    if mirror.state in _PENDING:
        return "PENDING"
    return "PAUSED" if mirror.state is MirrorState.PAUSED else "ACTIVE"
