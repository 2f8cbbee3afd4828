"""What is seen of a running link: the content of status.json, and what every view is made from.

Offsets are log offsets, lags records, times milliseconds since the epoch, rates per second. None: not known yet.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from operator import attrgetter
from typing import Any, Final

from kmirror.model.mirror import MirrorError
from kmirror.model.states import MirrorState
from kmirror.model.tasks import TaskStatus, task_status_from


class LinkState(StrEnum):
    """Cluster Linking's link_state; UNKNOWN while no runner tells."""

    ACTIVE = "ACTIVE"
    UNAVAILABLE = "UNAVAILABLE"
    FAILED = "FAILED"
    PAUSED = "PAUSED"
    UNKNOWN = "UNKNOWN"


class PartitionState(StrEnum):
    OPENING = "OPENING"
    """Finding out where the destination's log ends, and that it ends as the source has it."""
    COPYING = "COPYING"
    SOURCE_UNAVAILABLE = "SOURCE_UNAVAILABLE"
    DESTINATION_UNAVAILABLE = "DESTINATION_UNAVAILABLE"
    FAILED = "FAILED"
    STOPPED = "STOPPED"


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something that may pass: since when, and why."""

    message: str
    since_ms: int
    code: str = "UNKNOWN"


class Throttle(StrEnum):
    """What may have a link copy less than it could."""

    SOURCE_QUOTA = "source_quota"
    DESTINATION_QUOTA = "destination_quota"
    IO_LIMIT = "io_limit"
    """cluster.link.io.max.bytes.per.second of the link itself."""


@dataclass(frozen=True, slots=True)
class PartitionStatus:
    partition: int
    state: PartitionState
    log_end: int | None = None
    """The mirror's log end: everything below is copied."""
    source_end: int | None = None
    """The source's last stable offset, as of the last fetch."""
    lag_ms: int | None = None
    """How old the oldest record not yet copied is; 0 when nothing is left to copy."""
    fetched_ms: int | None = None
    """When the source last answered for this partition: how fresh the lag is."""
    trouble: Trouble | None = None
    error: MirrorError | None = None

    @property
    def lag(self) -> int | None:
        """Records that the source holds and the mirror does not."""
        if self.source_end is None or self.log_end is None:
            return None
        return max(0, self.source_end - self.log_end)


@dataclass(frozen=True, slots=True)
class MirrorStatus:
    topic: str
    state: MirrorState
    partitions: tuple[PartitionStatus, ...] = ()
    bytes_per_s: float = 0.0
    records_per_s: float = 0.0
    trouble: Trouble | None = None
    """Why a step of the mirror as a whole (its growth, its end) does not get done yet."""

    @property
    def lag(self) -> int | None:
        """Of all partitions; None as long as that of one is not known: half a lag would look like good news."""
        lags = [p.lag for p in self.partitions]
        return None if None in lags or not lags else sum(lag for lag in lags if lag is not None)

    @property
    def max_lag(self) -> int | None:
        """Of the partition that is furthest behind; None as `lag`."""
        lags = [p.lag for p in self.partitions]
        return None if None in lags else max((lag for lag in lags if lag is not None), default=None)

    @property
    def lag_ms(self) -> int | None:
        """The longest of those that are known."""
        return max((p.lag_ms for p in self.partitions if p.lag_ms is not None), default=None)

    @property
    def fetched_ms(self) -> int | None:
        """When the source last answered for the partition that waits the longest for it; None: never for one."""
        times = [p.fetched_ms for p in self.partitions]
        return None if None in times else min((time for time in times if time is not None), default=None)


@dataclass(frozen=True, slots=True)
class LinkStatus:
    """Written by the runner each second. `run_token` is the producer epoch of this run (design of the exact append)."""

    link: str
    pid: int
    started_ms: int
    updated_ms: int
    state: LinkState
    run_token: int | None = None
    trouble: Trouble | None = None
    mirrors: Mapping[str, MirrorStatus] = field(default_factory=dict)
    tasks: Mapping[str, TaskStatus] = field(default_factory=dict)
    throttled: Mapping[Throttle, float] = field(default_factory=dict)
    """For which part of the last seconds something had it wait, up to 1; what did not is left out."""


_NAMES: Final = {kind: tuple(f.name for f in fields(kind)) for kind in (LinkStatus, MirrorStatus, PartitionStatus)}
_VALUES: Final = {kind: attrgetter(*names) for kind, names in _NAMES.items()}


def plain_status(status: LinkStatus) -> dict[str, Any]:
    """As dataclasses.asdict, which takes a tenth of a second for some thousand partitions."""
    return _plain(status) | {
        "mirrors": {topic: plain_mirror(mirror) for topic, mirror in status.mirrors.items()},
        "tasks": {name: asdict(task) for name, task in status.tasks.items()},
        "throttled": dict(status.throttled),
    }


def plain_mirror(mirror: MirrorStatus) -> dict[str, Any]:
    """The part of `plain_status` that tells of one mirror."""
    return _plain(mirror) | {"partitions": [_plain(partition) for partition in mirror.partitions]}


def _plain(status: LinkStatus | MirrorStatus | PartitionStatus) -> dict[str, Any]:
    kind = type(status)
    out = dict(zip(_NAMES[kind], _VALUES[kind](status), strict=True))
    for name in ("trouble", "error"):
        if out.get(name) is not None:
            out[name] = asdict(out[name])
    return out


def link_status_from(data: Mapping[str, Any]) -> LinkStatus:
    """The inverse of `plain_status`; raises KeyError, TypeError or ValueError where it does not fit."""
    rest = {k: v for k, v in data.items() if k not in {"state", "trouble", "mirrors", "tasks", "throttled"}}
    return LinkStatus(
        **rest,
        state=LinkState(data["state"]),
        trouble=_trouble(data["trouble"]),
        mirrors={topic: _mirror(m) for topic, m in data["mirrors"].items()},
        tasks={name: task_status_from(t) for name, t in data.get("tasks", {}).items()},
        throttled={Throttle(by): float(part) for by, part in data.get("throttled", {}).items()},
    )


def _trouble(data: Mapping[str, Any] | None) -> Trouble | None:
    return None if data is None else Trouble(**data)


def _mirror(data: Mapping[str, Any]) -> MirrorStatus:
    rest = {k: v for k, v in data.items() if k not in {"state", "partitions", "trouble"}}
    partitions = tuple(_partition(p) for p in data["partitions"])
    trouble = _trouble(data.get("trouble"))
    return MirrorStatus(**rest, state=MirrorState(data["state"]), partitions=partitions, trouble=trouble)


def _partition(data: Mapping[str, Any]) -> PartitionStatus:
    rest = {k: v for k, v in data.items() if k not in {"state", "trouble", "error"}}
    error = None if data["error"] is None else MirrorError(**data["error"])
    return PartitionStatus(**rest, state=PartitionState(data["state"]), trouble=_trouble(data["trouble"]), error=error)
