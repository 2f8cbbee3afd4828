"""Keeps the metadata of one cluster fresh: at intervals, and at once when somebody finds it stale."""

import asyncio
from collections.abc import Callable, Iterable
from typing import Final

from kmirror.engine.backoff import Backoff, wait_for_event
from kmirror.engine.copy import now_ms
from kmirror.errors import ClusterError
from kmirror.log import events
from kmirror.model.status import Trouble
from kmirror.wire.cluster import Cluster

log = events(__name__)

_AT_MOST_EVERY_S: Final = 0.1


class MetadataLoop:
    """`trouble` tells why the cluster does not answer, and since when; None while it does."""

    def __init__(
        self,
        cluster: Cluster,
        topics: Callable[[], Iterable[str]],
        max_age_s: float,
        on_fresh: Callable[[], None],
    ) -> None:
        self._cluster = cluster
        self._topics = topics
        self._max_age_s = max_age_s
        self._on_fresh = on_fresh
        self._stale = asyncio.Event()
        self.trouble: Trouble | None = None

    def mark_stale(self) -> None:
        self._stale.set()

    async def run(self) -> None:
        """Until cancelled."""
        backoff = Backoff()
        while True:
            self._stale.clear()
            try:
                await self._cluster.refresh(self._topics())
                self._on_fresh()
                await self._cluster.measure()
            except ClusterError as e:
                self._in_trouble(e)
                await asyncio.sleep(backoff.next())
                continue
            if self.trouble:
                log.info("cluster answers again", cluster=self._cluster.role)
            self.trouble = None
            backoff.reset()
            await asyncio.sleep(_AT_MOST_EVERY_S)
            await wait_for_event(self._stale, self._max_age_s)

    def _in_trouble(self, error: ClusterError) -> None:
        message = f"{self._cluster.role} cluster: {error.message}"
        if self.trouble is None or self.trouble.message != message:
            log.warning("cluster does not answer", cluster=self._cluster.role, code=error.code, error=error.message)
        since = self.trouble.since_ms if self.trouble else now_ms()
        self.trouble = Trouble(message, since, error.code)
