"""The link's own limit of bytes a second (cluster.link.io.max.bytes.per.second), over all its partitions.

It brakes the fetches alone: what is fetched goes on as ever, so that no marker and no lease ever waits for it.
"""

import asyncio
import contextlib
import time
from typing import Final

from kmirror.engine.counters import RunCounters
from kmirror.model.settings import UNLIMITED
from kmirror.wire import batch as wire
from kmirror.wire.fetch import Fetched

_LEAST_S: Final = 0.05  # of the limit in one fetch: fewer bytes would cost a request each
_MOST_S: Final = 0.4  # is saved up at most: longer than a round trip, or a long one would cost of the limit
_TICK_S: Final = 0.001
_LOOK_S: Final = 0.25  # a limit that is raised meanwhile is taken so soon


class Brake:
    """A bucket that fills by `rate` bytes a second. A batch larger than what is in it is paid for afterwards."""

    def __init__(self, rate: int, counters: RunCounters) -> None:
        self._counters = counters
        self._rate = rate
        self._tokens = 0.0
        self._filled_at = time.monotonic()

    def set_rate(self, rate: int) -> None:
        """From now on; what was owed under another limit is forgotten."""
        if rate != self._rate:
            self._rate, self._tokens, self._filled_at = rate, 0.0, time.monotonic()

    async def room(self, most: int) -> int:
        """Waits until something may be fetched; returns how many bytes, at most `most`."""
        if self._rate == UNLIMITED:
            return most
        began: float | None = None
        while (missing := self._missing(most)) > 0:
            began = began or time.monotonic()
            await asyncio.sleep(max(_TICK_S, min(_LOOK_S, missing / self._rate)))
        if began is not None:
            self._counters.braked_s += time.monotonic() - began
        if self._rate == UNLIMITED:  # since a moment ago
            return most
        return max(1, min(most, int(self._tokens)))

    def _missing(self, most: int) -> float:
        now = time.monotonic()
        self._tokens = min(self._tokens + (now - self._filled_at) * self._rate, self._rate * _MOST_S)
        self._filled_at = now
        return min(self._rate * _LEAST_S, most) - self._tokens

    def took(self, fetched: Fetched) -> None:
        """What a fetch brought: its whole batches count, the part of one that is cut off will be fetched again."""
        if self._rate == UNLIMITED:
            return
        with contextlib.suppress(ValueError):  # a damaged batch ends the mirror elsewhere
            for size in wire.sizes(fetched.records, fetched.missing):
                self._tokens -= size
