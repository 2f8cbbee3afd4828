"""For which part of the last seconds a link was made to wait, and by what."""

import time
from collections import deque
from typing import Final

from kmirror.engine.counters import RunCounters
from kmirror.model.status import Throttle

_OVER_S: Final = 5.0
_LEAST: Final = 0.01  # less is not worth a word


class ThrottleShares:
    def __init__(self, counters: RunCounters) -> None:
        self._counters = counters
        self._seen: deque[tuple[float, dict[Throttle, float]]] = deque()
        self.look()

    def look(self) -> dict[Throttle, float]:
        """Part of the last 5 s, up to 1, by what; those that had nothing wait are left out. Called once a second."""
        now = time.monotonic()
        self._seen.append((now, self._counters.throttled_s()))
        while len(self._seen) > 2 and now - self._seen[0][0] > _OVER_S:
            self._seen.popleft()
        (since, before), (_, after) = self._seen[0], self._seen[-1]
        elapsed = max(now - since, 0.1)
        parts = {by: min(1.0, (after[by] - before[by]) / elapsed) for by in Throttle}
        return {by: round(part, 2) for by, part in parts.items() if part >= _LEAST}
