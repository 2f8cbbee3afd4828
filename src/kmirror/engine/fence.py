"""The first offset of a partition's gap with a run token, where gaps are filled by empty transactions.

The transactions of engine/transactions.py are of other producer ids than our batches, so they refuse none: a batch of
an older run, whose records the source has compacted away since, would land behind them. Hence the first offset is taken
by an empty transaction of the link's own transactional id, which is the producer of its batches: the marker carries the
run token as producer epoch, and behind it the leader takes no batch of an older run. One such transaction is for all
partitions that wait for it. The coordinator refuses it to a run that lost the link, and renewing the run token ends it.
"""

import asyncio
from typing import Final

from kmirror.engine.copy import PartitionCopy
from kmirror.engine.identity import Identity, Renewed
from kmirror.errors import ClusterError
from kmirror.wire import rpc
from kmirror.wire.cluster import Cluster
from kmirror.wire.errors import TRANSACTIONAL_ID_AUTHORIZATION_FAILED, BrokerError
from kmirror.wire.markers import OWN_COORDINATOR
from kmirror.wire.topics import Place
from kmirror.wire.transactions import AT_REST, transaction_stage

_MOST: Final = 500


class Fence:
    def __init__(self, destination: Cluster, identity: Identity) -> None:
        self._destination = destination
        self._identity = identity
        self._turn = asyncio.Lock()
        self._waiting: dict[PartitionCopy, asyncio.Future[int]] = {}

    async def is_possible(self, copy: PartitionCopy) -> bool:
        """Not where the link once wrote markers by itself: those keep the coordinator's out. Raises ClusterError."""
        connection = await self._destination.connection(copy.node, "markers")
        producer_id = self._identity.producer_id
        assert producer_id is not None
        state = await rpc.producer_state(connection, copy.topic, copy.partition, producer_id)
        return state is None or state.coordinator_epoch < OWN_COORDINATOR

    async def take_offset(self, copy: PartitionCopy) -> int:
        """The run token of the marker that took one offset of `copy`. Raises ClusterError: then it is in doubt."""
        done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._waiting[copy] = done
        async with self._turn:
            if not done.done():
                await self._take_all()
        return await done

    async def settle(self, copy: PartitionCopy) -> None:
        """No marker of such a transaction, of this run or an earlier one, comes any more. Raises ClusterError."""
        if copy.marker_in_doubt is not None:
            await self._identity.renew(copy.marker_in_doubt)
        if self._identity.run_token is not None:
            return
        name = self._identity.transactional_id
        try:
            coordinator = await self._destination.coordinator(name)
            try:
                stage = await transaction_stage(coordinator, name)
            finally:
                coordinator.close()
        except BrokerError as e:
            if e.kafka_code == TRANSACTIONAL_ID_AUTHORIZATION_FAILED:
                return  # then there never was one
            raise
        if stage is not None and stage not in AT_REST:
            raise ClusterError(f"an earlier run left a transaction open ({stage}): it ends once the link is held")

    async def _take_all(self) -> None:
        """One transaction for what waits: each has its result, or the error, afterwards."""
        batch = dict(list(self._waiting.items())[:_MOST])
        for copy in batch:
            del self._waiting[copy]
        try:
            token, codes = await self._transaction({(copy.topic, copy.partition): copy for copy in batch})
        except ClusterError as e:
            for done in batch.values():
                if not done.done():
                    done.set_exception(e)
            return
        for copy, done in batch.items():
            copy.marker_in_doubt = None
            code = codes[copy.topic, copy.partition]
            if done.done():
                continue  # who waited was cancelled
            if code:
                done.set_exception(BrokerError(code, f"AddPartitionsToTxn {copy.name}"))
            else:
                done.set_result(token)

    async def _transaction(self, copies: dict[Place, PartitionCopy]) -> tuple[int, dict[Place, int]]:
        """The run token of its markers, and the error codes."""
        while True:
            token = self._identity.run_token
            assert token is not None
            for copy in copies.values():
                copy.marker_in_doubt = token
            try:
                return token, await self._identity.take_offsets(token, list(copies))
            except Renewed:
                continue
