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
from kmirror.engine.identity import Identity
from kmirror.engine.transactions import completed, patiently
from kmirror.errors import ClusterError
from kmirror.wire import rpc
from kmirror.wire.cluster import Cluster
from kmirror.wire.connection import Connection
from kmirror.wire.errors import (
    CONCURRENT_TRANSACTIONS,
    NONE,
    OPERATION_NOT_ATTEMPTED,
    TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
    BrokerError,
    check,
)
from kmirror.wire.markers import OWN_COORDINATOR, Place
from kmirror.wire.transactions import AT_REST, Producer, add_partitions, end_transaction, transaction_stage

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
            async with self._identity.producing() as (coordinator, producer):
                await self._transaction(coordinator, producer, batch)
        except ClusterError as e:
            for done in batch.values():
                if not done.done():
                    done.set_exception(e)

    async def _transaction(
        self, coordinator: Connection, producer: Producer, batch: dict[PartitionCopy, "asyncio.Future[int]"]
    ) -> None:
        name, token = self._identity.transactional_id, producer[1]
        for copy in batch:
            copy.marker_in_doubt = token
        copies = {(copy.topic, copy.partition): copy for copy in batch}
        while copies:
            codes = await _added(coordinator, name, producer, copies)
            refused = {place: code for place, code in codes.items() if code not in {NONE, OPERATION_NOT_ATTEMPTED}}
            if not refused:
                break
            for place, code in refused.items():  # and none was added
                copy = copies.pop(place)
                copy.marker_in_doubt = None
                batch[copy].set_exception(BrokerError(code, f"AddPartitionsToTxn {copy.name}"))
        if not copies:
            return
        check(max(codes.values()), "AddPartitionsToTxn")
        check(await patiently(lambda: end_transaction(coordinator, name, producer)), "EndTxn")
        await completed(coordinator, name, "the link")
        for copy in copies.values():
            copy.marker_in_doubt = None
            batch[copy].set_result(token)


async def _added(
    coordinator: Connection, name: str, producer: Producer, copies: dict[Place, PartitionCopy]
) -> dict[Place, int]:
    codes: dict[Place, int] = {}

    async def add() -> int:
        codes.update(await add_partitions(coordinator, name, producer, copies))
        return CONCURRENT_TRANSACTIONS if CONCURRENT_TRANSACTIONS in codes.values() else NONE

    await patiently(add)
    return codes
