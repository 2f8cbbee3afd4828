"""What a runner lets others see of it while it works, from any thread: for metrics and for health."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from kmirror.engine.counters import MirrorCounters
from kmirror.model.status import LinkStatus
from kmirror.wire.cluster import ConnectionCounters


@dataclass(frozen=True, slots=True)
class Readings:
    """All that is told. `unreachable`: which of `source` and `destination` don't answer."""

    status: LinkStatus
    mirrors: Mapping[str, MirrorCounters]
    connections: Mapping[str, ConnectionCounters]
    unreachable: frozenset[str]
    buffer_held: int
    buffer_limit: int


@dataclass(frozen=True, slots=True)
class Sights:
    """`not_alive` and `not_ready` say what is wrong, in lines; nothing is while they are empty."""

    readings: Callable[[], Readings]
    not_alive: Callable[[], list[str]]
    not_ready: Callable[[], list[str]]
