"""`kmirror status`: every link with its runner and its mirrors, from what is on this machine."""

from collections.abc import Mapping
from dataclasses import dataclass

from kmirror.model.status import Throttle
from kmirror.ops.mirror_rows import MirrorRow, mirror_row
from kmirror.ops.seen import Seen, see
from kmirror.state.links import LinkStore
from kmirror.state.paths import Home


@dataclass(frozen=True, slots=True)
class LinkOverview:
    """`status_age_ms` says how old the lags are; None: no runner ever told any."""

    link_name: str
    link_id: str
    source_cluster: str
    destination_cluster: str
    state: str
    error: str
    error_message: str
    runner_pid: int | None
    runner_started_ms: int | None
    runner_uptime_ms: int | None
    status_age_ms: int | None
    bytes_per_s: float
    throttled: Mapping[Throttle, float]
    mirrors: tuple[MirrorRow, ...]
    idle: bool
    silent: bool


def overview(home: Home) -> list[LinkOverview]:
    return [_overview(see(home, link)) for link in LinkStore(home).all().values()]


def _overview(seen: Seen) -> LinkOverview:
    rows = tuple(mirror_row(seen, mirror) for _, mirror in sorted(seen.link.mirrors.items()))
    trouble = seen.fresh.trouble if seen.fresh else None
    runner = seen.runner
    return LinkOverview(
        link_name=seen.link.name,
        link_id=seen.link.link_id,
        source_cluster=seen.link.source_cluster_id,
        destination_cluster=seen.link.destination_cluster_id,
        state=seen.link_state,
        error=trouble.code if trouble else "",
        error_message=trouble.message if trouble else "",
        runner_pid=runner.pid if runner else None,
        runner_started_ms=runner.started_ms if runner else None,
        runner_uptime_ms=seen.at_ms - runner.started_ms if runner else None,
        status_age_ms=seen.age_ms,
        bytes_per_s=sum(row.bytes_per_s for row in rows),
        throttled=seen.throttled,
        mirrors=rows,
        idle=seen.idle,
        silent=seen.silent,
    )
