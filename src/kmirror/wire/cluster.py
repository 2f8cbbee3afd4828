"""One cluster as a client sees it: who leads which partition, and a connection to each broker for each purpose."""

import asyncio
import random
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from kmirror.errors import ClusterError
from kmirror.log import events
from kmirror.model.access import Access
from kmirror.model.bootstrap import parse_bootstrap
from kmirror.wire import rpc
from kmirror.wire.answers import Answers, the_only
from kmirror.wire.buffers import BufferPool
from kmirror.wire.connection import Connection
from kmirror.wire.dial import connect
from kmirror.wire.errors import ConnectionLost
from kmirror.wire.rpc import TopicMetadata

log = events(__name__)

CONNECT_TIMEOUT_S: Final = 5.0
_PATIENT: Final = frozenset({"produce", "markers"})
"""What is sent there is waited for longer than for other answers: each is judged by its own silence."""
_THAWED_S: Final = 1.5
"""A broker that was frozen answers on the old connection, too: a look at that comes once a second."""
_SILENT: Final = "the broker was silent, and answered on a new one"
_MEASURE_EVERY_S: Final = 10.0
_PINGS: Final = 3  # a busy machine is not to look like a long way


class WrongCluster(ClusterError):
    """Another cluster answers at the link's addresses: nothing may be read from it or written to it."""


@dataclass(slots=True, eq=False)
class ConnectionCounters:
    """Of one cluster since the process began: connections made, attempts that came to nothing, and those that broke.

    A broken one is counted when it would be used again; one that the broker has closed as it was idle is not.
    `throttled_s`: how long its quotas had us wait.
    """

    opened: int = 0
    failed: int = 0
    lost: int = 0
    throttled_s: float = 0.0


class Cluster:
    """Metadata of the topics that are wanted, and the connections. Not thread-safe: it lives in one event loop."""

    def __init__(
        self, access: Access, role: str, cluster_id: str = "", counters: ConnectionCounters | None = None
    ) -> None:
        self.role = role
        self.cluster_id = cluster_id
        self.topics: Mapping[str, TopicMetadata] = {}
        self.counters = counters or ConnectionCounters()
        self.access = access
        self._bootstrap = parse_bootstrap(access.bootstrap)
        self._brokers: Mapping[int, tuple[str, int]] = {}
        self._connections: dict[tuple[int, str, int], Connection] = {}
        self._connecting: dict[tuple[int, str, int], asyncio.Lock] = {}
        self._asking: Connection | None = None
        self._buffers = BufferPool()
        self._measured_at = -_MEASURE_EVERY_S
        self.takes_pipes = False
        """Its connections are plain ones, as the last that was made."""
        self.round_trip_s = 0.0
        """How long the shortest of a few questions took when it was last measured."""

    @property
    def held_bytes(self) -> int:
        """Of answers that are still in memory, as large as they came, because a part of them is wanted."""
        return self._buffers.held_bytes

    async def refresh(self, topics: Iterable[str]) -> None:
        """Reads the metadata of `topics`; raises ClusterError when no broker answers."""
        fault: ClusterError | None = None
        for attempt in range(2):
            try:
                connection = await self.any_connection(fresh=attempt > 0)
                found = await rpc.metadata(connection, sorted(topics))
            except ClusterError as e:
                fault = e
                continue
            self._check_is_ours(found.cluster_id)
            self.cluster_id, self._brokers, self.topics = found.cluster_id, found.brokers, found.topics
            return
        assert fault
        raise fault

    async def any_connection(self, *, fresh: bool = False) -> Connection:
        """A connection to some broker, for questions that every broker answers. Raises ConnectionLost."""
        if self._asking is not None and self._asking.alive and not fresh:
            return self._asking
        if self._asking is not None:
            self.counters.lost += self._asking.broke
            self._asking.close()
            self._asking = None
        known = list(self._brokers.values())
        random.shuffle(known)
        fault = ConnectionLost("no bootstrap server")
        for host, port in dict.fromkeys([*known, *self._bootstrap]):
            try:
                self._asking = await self._connect(host, port)
            except ConnectionLost as e:
                fault = e
            else:
                return self._asking
        raise fault

    async def measure(self) -> None:
        """Looks how far the cluster is, once in a while. Raises ClusterError."""
        now = asyncio.get_running_loop().time()
        if now - self._measured_at < _MEASURE_EVERY_S:
            return
        self._measured_at = now
        connection = await self.any_connection()
        self.round_trip_s = min([await rpc.ping(connection) for _ in range(_PINGS)])

    def _check_is_ours(self, cluster_id: str) -> None:
        if self.cluster_id and cluster_id != self.cluster_id:
            raise WrongCluster(
                f"the {self.role} is cluster {cluster_id}, not {self.cluster_id} with which the link was made"
            )

    def leader(self, topic: str, partition: int) -> int | None:
        """The node id of the leader; None while there is none or it is not known."""
        metadata = self.topics.get(topic)
        node = metadata.leaders.get(partition, -1) if metadata else -1
        return node if node in self._brokers else None

    async def connection(self, node: int, purpose: str, number: int = 0) -> Connection:
        """The connection of that number to broker `node` for `purpose`; opened when there is none.

        Raises ConnectionLost, and WrongCluster: an address may have come to another cluster since then.
        """
        key = (node, purpose, number)
        known = self._connections.get(key)
        if known is not None and known.alive:
            return known
        async with self._connecting.setdefault(key, asyncio.Lock()):
            found = self._connections.get(key)
            if found is not None and found.alive:
                return found
            if node not in self._brokers:
                raise ConnectionLost(f"broker {node} of the {self.role} is not known")
            host, port = self._brokers[node]
            before = self._connections.pop(key, None)
            self.counters.lost += before is not None and before.broke
            made = await self._connect(host, port)
            try:
                self._check_is_ours((await rpc.metadata(made, [])).cluster_id)
            except BaseException:
                made.close()
                raise
            self._connections[key] = made
            log.info(
                "connected", cluster=self.role, broker=node, address=f"{host}:{port}", purpose=purpose, number=number
            )
            return made

    async def renew_silent(self, after_s: float) -> bool:
        """Gives up connections on which a broker is silent for so long, if it answers on a new one; whether any was."""
        silent = [
            (node, connection)
            for (node, purpose, _), connection in self._connections.items()
            if purpose in _PATIENT and connection.silent_s >= after_s and connection.alive and node in self._brokers
        ]
        return any(await asyncio.gather(*(self._renew(node, connection) for node, connection in silent)))

    async def _renew(self, node: int, silent: Connection) -> bool:
        try:
            (await self._connect(*self._brokers[node])).close()
        except ClusterError:
            return False  # it is as silent there: frozen, or away
        await asyncio.sleep(_THAWED_S)
        if not silent.alive or not silent.silent_s:
            return False
        log.warning("connection given up", cluster=self.role, broker=node, silent_s=silent.silent_s)
        silent.give_up(_SILENT)
        for (other, purpose, _), connection in self._connections.items():
            if other == node and (purpose not in _PATIENT or not connection.is_awaited):
                connection.give_up(_SILENT)
        if self._asking is not None:
            self._asking.give_up(_SILENT)
        return True

    async def coordinator(self, transactional_id: str) -> Connection:
        """A new connection to the coordinator of `transactional_id`; the caller closes it."""
        _, host, port = the_only(await self._coordinators([transactional_id]))
        return await self._connect(host, port)

    async def coordinator_nodes(self, transactional_ids: Collection[str]) -> Answers[str, int]:
        """The node ids of the coordinators, for `connection`. Raises ClusterError."""
        found = await self._coordinators(transactional_ids)
        return {name: answer if isinstance(answer, ClusterError) else answer[0] for name, answer in found.items()}

    async def _coordinators(self, transactional_ids: Collection[str]) -> Answers[str, tuple[int, str, int]]:
        connection = await self.any_connection()
        try:
            return await rpc.transaction_coordinators(connection, transactional_ids)
        except ClusterError:
            connection.close()
            raise

    async def _connect(self, host: str, port: int) -> Connection:
        try:
            made = await connect(self.access, host, port, timeout=CONNECT_TIMEOUT_S, buffers=self._buffers)
        except ClusterError:
            self.counters.failed += 1
            raise
        self.counters.opened += 1
        self.takes_pipes = made.takes_pipes
        return made

    def close(self) -> None:
        """Resets all connections."""
        for connection in (*self._connections.values(), *([self._asking] if self._asking else [])):
            connection.close()
        self._connections.clear()
