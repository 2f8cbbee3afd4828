"""What a runner lets others see of it while it works, from any thread: for metrics and for health."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from kmirror.engine.counters import RunCounters
from kmirror.engine.link import LinkEngine
from kmirror.model.status import LinkStatus

_STUCK_S: Final = 30.0  # without a look at itself the event loop is taken for stuck


@dataclass(frozen=True, slots=True)
class Readings:
    """All that is told. `unreachable`: which of `source` and `destination` don't answer. `other_pids`: the workers'."""

    status: LinkStatus
    counters: RunCounters
    unreachable: frozenset[str]
    buffer_held: int
    buffer_limit: int
    other_pids: Sequence[int] = ()


class Sights(Protocol):
    """The lists say what is wrong, in lines; nothing is while they are empty."""

    def readings(self) -> Readings: ...

    def not_alive(self) -> list[str]: ...

    def not_ready(self) -> list[str]: ...


class RunnerSights:
    """`look` is called in the event loop, again and again; all else in any thread."""

    def __init__(
        self, engine: Callable[[], LinkEngine], status: Callable[[], LinkStatus], counters: RunCounters
    ) -> None:
        self._engine = engine
        self._status = status
        self._counters = counters
        self.look()

    def look(self) -> LinkStatus:
        self._last = self._status()
        self._looked_s = time.monotonic()
        return self._last

    def readings(self) -> Readings:
        held, limit = self._engine().buffer()
        sides = frozenset(side for side, _ in self._unreachable())
        return Readings(self._last, self._counters, sides, held, limit, self._engine().other_pids())

    def _unreachable(self) -> list[tuple[str, str]]:
        """(which cluster, why)."""
        engine = self._engine()
        sides = (("source", engine.source_metadata), ("destination", engine.destination_metadata))
        troubles = [(side, loop.trouble) for side, loop in sides]
        return [(side, trouble.message) for side, trouble in troubles if trouble]

    def not_alive(self) -> list[str]:
        silent = time.monotonic() - self._looked_s
        stuck = [f"the event loop is stuck for {silent:.0f} s"] if silent > _STUCK_S else []
        return stuck + self._engine().stuck()

    def not_ready(self) -> list[str]:
        wrong = self.not_alive() + [message for _, message in self._unreachable()]
        if not self._engine().tenure.held:
            wrong.append("the link is not held yet, or another runner has it")
        return wrong
