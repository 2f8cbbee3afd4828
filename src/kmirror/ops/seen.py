"""A link as recorded, together with what its runner sees: the one place that says which of the two is shown."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from kmirror.model.link import Link
from kmirror.model.mirror import Mirror
from kmirror.model.states import LIVE, MirrorState
from kmirror.model.status import LinkState, LinkStatus, MirrorStatus, PartitionStatus, Throttle
from kmirror.ops.clock import now_ms
from kmirror.process.control import last_seen, observe
from kmirror.process.detached import running
from kmirror.state.lock import Runner
from kmirror.state.paths import Home

SILENT_MS: Final = 5000
"""A runner tells its status each second."""

_SHOWN: Final = frozenset({MirrorState.SOURCE_UNAVAILABLE, MirrorState.LINK_FAILED, MirrorState.FAILED})
"""What only the runner knows, and which is worth more than the recorded "it is to be copied"."""


@dataclass(frozen=True, slots=True)
class Seen:
    """`status` is fresh while there is a `runner`, else the last that is left of an earlier one."""

    link: Link
    runner: Runner | None
    status: LinkStatus | None
    at_ms: int

    @property
    def age_ms(self) -> int | None:
        return None if self.status is None else max(0, self.at_ms - self.status.updated_ms)

    @property
    def fresh(self) -> LinkStatus | None:
        """The status, if it is the present runner's and a runner that works still stands behind it."""
        if self.runner is None or self.status is None or self.status.pid != self.runner.pid:
            return None
        return self.status if self.at_ms - self.status.updated_ms <= SILENT_MS else None

    @property
    def throttled(self) -> Mapping[Throttle, float]:
        """As LinkStatus; nothing while no runner works."""
        return self.fresh.throttled if self.fresh else {}

    @property
    def silent(self) -> bool:
        """There is a runner, and it has told nothing for a while: frozen, or stuck."""
        return self.runner is not None and self.fresh is None and self.at_ms - self.runner.started_ms > SILENT_MS

    @property
    def link_state(self) -> LinkState:
        if self.link.paused:
            return LinkState.PAUSED
        return self.fresh.state if self.fresh else LinkState.UNKNOWN

    @property
    def idle(self) -> bool:
        """Mirrors are to be copied, and nobody does."""
        wanted = {MirrorState.PENDING_STOPPED} if self.link.paused else LIVE
        return self.runner is None and any(m.state in wanted for m in self.link.mirrors.values())

    def mirror_status(self, topic: str) -> MirrorStatus | None:
        return self.status.mirrors.get(topic) if self.status else None

    def shown_state(self, mirror: Mirror) -> MirrorState:
        if self.link.paused and mirror.state is MirrorState.ACTIVE:
            return MirrorState.LINK_PAUSED
        found = self.mirror_status(mirror.topic)
        if self.fresh and found and mirror.state in LIVE and found.state in _SHOWN:
            return found.state
        return mirror.state

    def partitions(self, mirror: Mirror) -> tuple[PartitionStatus | None, ...]:
        """One for each partition of the mirror; None of which nothing is known."""
        found = self.mirror_status(mirror.topic)
        known = {p.partition: p for p in found.partitions} if found else {}
        count = max(mirror.partitions, max(known, default=-1) + 1)
        return tuple(known.get(number) for number in range(count))


def see(home: Home, link: Link) -> Seen:
    runner = running(home, link.name)
    status = observe(home, link.name) if runner else None
    return Seen(link, runner, status or last_seen(home, link.name), now_ms())
