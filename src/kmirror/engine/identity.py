"""The link's producer id and run token, kept by the destination's transaction coordinator.

InitProducerId with the link's transactional id gives the same producer id at each start on any host, and an epoch that
grows by one: the run token. Data batches carry epoch 0 always, so that all runs share one sequence.
"""

import asyncio
import logging
from typing import Final

from kmirror.errors import ClusterError
from kmirror.wire import rpc
from kmirror.wire.cluster import Cluster

log = logging.getLogger(__name__)

DATA_EPOCH: Final = 0
RENEW_S: Final = 24 * 3600.0
"""The coordinator forgets a transactional id that is idle for 7 days (transactional.id.expiration.ms)."""


class Identity:
    def __init__(self, destination: Cluster, transactional_id: str) -> None:
        self._destination = destination
        self._transactional_id = transactional_id
        self._renewing = asyncio.Lock()
        self.producer_id: int | None = None
        self.run_token: int | None = None

    async def renew(self) -> bool:
        """Takes a new run token; True when the producer id changed. Raises ClusterError."""
        async with self._renewing:
            connection = await self._destination.coordinator(self._transactional_id)
            try:
                producer_id, token = await rpc.init_producer_id(connection, self._transactional_id)
            finally:
                connection.close()
            changed = self.producer_id is not None and self.producer_id != producer_id
            self.producer_id, self.run_token = producer_id, token
            log.info("producer id %d, run token %d", producer_id, token)
            return changed


def is_passing(error: ClusterError) -> bool:
    """The coordinator moves, loads or is busy with our last request: ask again."""
    return getattr(error, "retriable", True) and not getattr(error, "fatal_for_link", False)
