"""One transactional id for each partition at the destination, whose empty transactions take offsets there.

What the coordinator keeps makes them exact without any clock:

- a transaction takes one offset, whether it is committed, aborted by the next run, or aborted because it timed out;
- InitProducerId ends what is open and answers when its marker is written; from then on older producers are refused.

So a partition's log end is a position only after `settle`, and nothing else is sent while a transaction may be open.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager
from typing import Final

from kmirror.engine.backoff import Backoff
from kmirror.engine.copy import PartitionCopy
from kmirror.engine.questions import MOST
from kmirror.engine.together import Together
from kmirror.errors import ClusterError
from kmirror.wire import rpc
from kmirror.wire.answers import Answers
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
from kmirror.wire.topics import Place
from kmirror.wire.transactions import (
    AT_REST,
    Producer,
    add_partitions,
    end_transaction,
    transaction_stage,
    transaction_stages,
)

_CLAIMS: Final = 16
"""At once, of partitions that are opened: each waits for the coordinator's log."""
_CONNECTIONS: Final = 8
"""To each coordinator: a broker takes one request of a connection at a time, and these wait for its log."""
_PATIENCE_S: Final = 20.0
_FIRST_WAIT_S: Final = 0.001
_LONGEST_WAIT_S: Final = 0.05


class Transactions:
    """`prefix` is the link's own transactional id."""

    def __init__(self, destination: Cluster, prefix: str) -> None:
        self._destination = destination
        self._prefix = prefix
        self._nodes: dict[str, int] = {}
        self._claims = asyncio.Semaphore(_CLAIMS)
        self._coordinators: Together[str, None, int] = Together(self._find_coordinators, most=MOST)
        self._stages: dict[int, Together[str, None, str | None]] = {}

    def id_of(self, copy: PartitionCopy) -> str:
        return f"{self._prefix}.{copy.topic}-{copy.partition}"

    async def settle(self, copy: PartitionCopy) -> None:
        """Ends what any run left open on this partition, so that no marker comes behind the log end that is read next.

        A run that begins its first transaction there meanwhile sees that the link was taken over: it looks at the run
        token after its InitProducerId, and we were given ours before we looked for that. Raises ClusterError.
        """
        try:
            known = await self._stage(self.id_of(copy)) is not None
        except BrokerError as e:
            if e.kafka_code == TRANSACTIONAL_ID_AUTHORIZATION_FAILED:
                return  # then there never was one
            raise
        if known:
            async with self._claims:
                await self.claim(copy)

    async def claim(self, copy: PartitionCopy) -> Producer:
        """A new epoch: what is open is aborted, its marker written, older producers are fenced. Raises ClusterError."""
        async with self._coordinator(copy) as coordinator:
            return await claim(coordinator, self.id_of(copy))

    async def take_offset(self, copy: PartitionCopy, producer: Producer) -> None:
        """One empty transaction, committed; its marker may still be on the way. Raises ClusterError."""
        place = (copy.topic, copy.partition)
        name = self.id_of(copy)
        async with self._coordinator(copy) as coordinator:

            async def add() -> int:
                return (await add_partitions(coordinator, name, producer, [place]))[place]

            check(await patiently(add), f"AddPartitionsToTxn {copy.name}")
            code = await patiently(lambda: end_transaction(coordinator, name, producer))
            check(code, f"EndTxn {copy.name}")

    async def complete(self, copy: PartitionCopy) -> None:
        """Waits until the marker of the last transaction is written. Raises ClusterError."""
        async with self._coordinator(copy) as coordinator:
            await completed(coordinator, self.id_of(copy), copy.name)

    @asynccontextmanager
    async def _coordinator(self, copy: PartitionCopy) -> AsyncIterator[Connection]:
        name = self.id_of(copy)
        async with self._coordinator_node(name) as node:
            yield await self._destination.connection(node, "transactions", hash(name) % _CONNECTIONS)

    @asynccontextmanager
    async def _coordinator_node(self, name: str) -> AsyncIterator[int]:
        try:
            if name not in self._nodes:
                self._nodes[name] = await self._coordinators.do(name, None)
            yield self._nodes[name]
        except ClusterError:
            self._nodes.pop(name, None)  # it may have moved
            raise

    async def _find_coordinators(self, names: Collection[str]) -> Answers[str, int]:
        return await self._destination.coordinator_nodes(names)

    async def _stage(self, name: str) -> str | None:
        """Of all partitions that are opened at about the same time in one request: see `engine/questions.py`."""
        async with self._coordinator_node(name) as node:
            if node not in self._stages:
                self._stages[node] = self._stages_at(node)
            return await self._stages[node].do(name, None)

    def _stages_at(self, node: int) -> Together[str, None, str | None]:
        async def ask(names: Collection[str]) -> Answers[str, str | None]:
            return await transaction_stages(await self._destination.connection(node, "check"), names)

        return Together(ask, most=MOST)


async def claim(coordinator: Connection, transactional_id: str) -> Producer:
    """InitProducerId, once what any run left open is aborted and its markers are written. Raises ClusterError."""
    found: Producer | None = None

    async def init() -> int:
        nonlocal found
        try:
            found = await rpc.init_producer_id(coordinator, transactional_id)
        except BrokerError as e:
            return e.kafka_code
        return 0

    check(await patiently(init), "InitProducerId")
    assert found is not None
    return found


async def empty_transaction(
    coordinator: Connection, transactional_id: str, producer: Producer, places: Collection[Place]
) -> dict[Place, int]:
    """Takes one offset of each place; returns the error codes, once all markers are written.

    One that is refused never stops the others. Raises ClusterError: then all are in doubt.
    """
    refused: dict[Place, int] = {}
    while left := [place for place in places if place not in refused]:
        codes = await _added(coordinator, transactional_id, producer, left)
        against = {place: code for place, code in codes.items() if code not in {NONE, OPERATION_NOT_ATTEMPTED}}
        if not against:
            check(max(codes.values()), "AddPartitionsToTxn")
            check(await patiently(lambda: end_transaction(coordinator, transactional_id, producer)), "EndTxn")
            await completed(coordinator, transactional_id, "the link")
            break
        refused |= against  # and none was added
    return dict.fromkeys(places, NONE) | refused


async def _added(
    coordinator: Connection, transactional_id: str, producer: Producer, places: Collection[Place]
) -> dict[Place, int]:
    codes: dict[Place, int] = {}

    async def add() -> int:
        codes.update(await add_partitions(coordinator, transactional_id, producer, places))
        return CONCURRENT_TRANSACTIONS if CONCURRENT_TRANSACTIONS in codes.values() else NONE

    await patiently(add)
    return codes


async def completed(coordinator: Connection, transactional_id: str, where: str) -> None:
    """Waits until all markers of the last transaction are written. Raises ClusterError."""

    async def at_rest() -> int:
        stage = await transaction_stage(coordinator, transactional_id)
        return 0 if stage is None or stage in AT_REST else CONCURRENT_TRANSACTIONS

    check(await patiently(at_rest), f"the transaction of {where} does not end")


async def patiently(ask: Callable[[], Awaitable[int]]) -> int:
    """The error code of `ask`, asked again while the coordinator is still ending the transaction before."""
    deadline = time.monotonic() + _PATIENCE_S
    backoff = Backoff(_FIRST_WAIT_S, _LONGEST_WAIT_S)
    while True:
        code = await ask()
        if code != CONCURRENT_TRANSACTIONS or time.monotonic() > deadline:
            return code
        await asyncio.sleep(backoff.next())
