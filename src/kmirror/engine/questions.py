"""What an opening asks of a cluster, in one request for all partitions that ask the same of a broker at about one time.

A request is sent after all have asked whose partition it asks about: an answer is never older than the question. Each
has an answer of its own, or an error: one partition that is refused never stops its neighbours.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final, TypeVar

from kmirror.engine.together import Together
from kmirror.errors import ClusterError
from kmirror.wire import batch as wire
from kmirror.wire import fetch as wire_fetch
from kmirror.wire import rpc
from kmirror.wire.answers import Answers
from kmirror.wire.cluster import Cluster
from kmirror.wire.connection import Connection
from kmirror.wire.errors import ProtocolError, check
from kmirror.wire.fetch import Fetched, FetchPartition
from kmirror.wire.producer_state import ProducerState
from kmirror.wire.topics import Place

MOST: Final = 500
"""Partitions in a request: an answer may name every producer of each, and while it is read nothing else is done."""
_MOST_BYTES: Final = 4 << 20
_ANSWER_S: Final = 30.0

A = TypeVar("A")
R = TypeVar("R")
Asking = Callable[[Connection, Mapping[Place, A]], Awaitable[Answers[Place, R]]]


class NotReady(ClusterError):
    """Passes by itself: no leader yet, or a high watermark that is still behind the log end."""


class HeldBack(NotReady):
    """A quota has a broker answer without what was asked for. The connection knows how long it stays silent."""


@dataclass(frozen=True, slots=True)
class Where:
    """A partition, and the broker that leads it."""

    node: int
    place: Place


class Questions:
    """`purpose`: which connection to a broker questions go over, but for fetches. All raise ClusterError."""

    def __init__(self, cluster: Cluster, purpose: str) -> None:
        self._cluster = cluster
        self._purpose = purpose
        self._states: dict[int, Together[Place, int, ProducerState | None]] = {}
        self._ends: dict[int, Together[Place, None, int]] = {}
        self._starts: dict[int, Together[Place, None, int]] = {}
        self._fetches: dict[tuple[int, int], Together[Place, FetchPartition, Fetched]] = {}

    def where(self, topic: str, topic_id: bytes, partition: int) -> Where:
        """Raises NotReady where it has no leader, or the topic is not the one with that id."""
        name = f"{self._cluster.role} {topic}[{partition}]"
        found = self._cluster.topics.get(topic)
        if found is None or found.topic_id != topic_id:
            raise NotReady(f"{name} is not known to the cluster", code="UNKNOWN_TOPIC_OR_PARTITION_ERROR")
        node = self._cluster.leader(topic, partition)
        if node is None:
            raise NotReady(f"no leader for {name}")
        return Where(node, (topic, partition))

    async def producer_state(self, where: Where, producer_id: int) -> ProducerState | None:
        """As `rpc.producer_state`."""
        if where.node not in self._states:
            self._states[where.node] = self._together(where.node, self._purpose, rpc.producer_states)
        return await self._states[where.node].do(where.place, producer_id)

    async def log_end(self, where: Where) -> int:
        """As `rpc.log_end`."""
        if where.node not in self._ends:
            self._ends[where.node] = self._together(where.node, self._purpose, _log_ends)
        return await self._ends[where.node].do(where.place, None)

    async def log_start(self, where: Where) -> int:
        if where.node not in self._starts:
            self._starts[where.node] = self._together(where.node, self._purpose, _log_starts)
        return await self._starts[where.node].do(where.place, None)

    async def fetch(self, item: FetchPartition, *, isolation: int = wire_fetch.READ_UNCOMMITTED) -> Fetched:
        """What there is now from `item.offset` on, if only a batch; the partition's own error is not looked at."""
        where = self.where(item.topic, item.topic_id, item.partition)
        key = where.node, isolation
        if key not in self._fetches:
            self._fetches[key] = self._together(where.node, "check", partial(_fetch_all, isolation=isolation))
        return await self._fetches[key].do(where.place, item)

    def _together(self, node: int, purpose: str, ask: Asking[A, R]) -> Together[Place, A, R]:
        async def act(asked: Mapping[Place, A]) -> Answers[Place, R]:
            return await ask(await self._cluster.connection(node, purpose), asked)

        return Together(act, most=MOST)


async def _log_ends(connection: Connection, asked: Mapping[Place, None]) -> Answers[Place, int]:
    return await rpc.list_offsets(connection, asked.keys(), at=rpc.LATEST, replica=rpc.AS_REPLICA)


async def _log_starts(connection: Connection, asked: Mapping[Place, None]) -> Answers[Place, int]:
    return await rpc.list_offsets(connection, asked.keys(), at=rpc.EARLIEST, replica=rpc.AS_CONSUMER)


async def _fetch_all(
    connection: Connection, asked: Mapping[Place, FetchPartition], *, isolation: int
) -> Answers[Place, Fetched]:
    """One answer has room for some of them only, and for a batch that is larger than wanted only if it comes first.

    So who got nothing asks again as long as others got something. Where nobody did there is nothing for anybody.
    """
    answers: Answers[Place, Fetched] = {}
    waiting = dict(asked)
    while waiting:
        found = await fetch_some(connection, list(waiting.values()), max_wait_ms=0, isolation=isolation)
        filled = [_holds_a_batch(fetched) for fetched in found]
        for place, fetched, has in zip(list(waiting), found, filled, strict=True):
            if has or fetched.error or not any(filled):
                answers[place] = fetched
                del waiting[place]
    return answers


def _holds_a_batch(fetched: Fetched) -> bool:
    try:
        return wire.first_batch(fetched.records) is not None
    except ValueError:
        return True  # whoever reads it says what is wrong


async def fetch_one(connection: Connection, item: FetchPartition, *, max_wait_ms: int, isolation: int) -> Fetched:
    """As `fetch_some`, of one partition alone."""
    (found,) = await fetch_some(connection, [item], max_wait_ms=max_wait_ms, isolation=isolation)
    return found


async def fetch_some(
    connection: Connection, items: list[FetchPartition], *, max_wait_ms: int, isolation: int
) -> list[Fetched]:
    """Of each, in their order; their own errors are not looked at.

    Raises HeldBack (asking again waits as long as needed), and other ClusterErrors for the answer as a whole.
    """
    first = f"Fetch {items[0].topic}[{items[0].partition}]"
    where = first if len(items) == 1 else f"{first} and {len(items) - 1} others"
    version = fetch_version(connection)
    most = max(_MOST_BYTES, items[0].max_bytes) if len(items) > 1 else items[0].max_bytes
    body = wire_fetch.encode_fetch(version, items, max_wait_ms=max_wait_ms, max_bytes=most, isolation=isolation)
    await connection.unthrottled()
    frame = await connection.send(wire_fetch.API_KEY, version, [body], flexible=True, timeout=_ANSWER_S)
    throttle_ms, error, partitions, _ = wire_fetch.decode_fetch(frame, version)
    connection.throttled(throttle_ms)
    check(error, where)
    if not partitions and throttle_ms > 0:  # ClientQuotaManager: over its quota a client gets an empty answer
        raise HeldBack(f"{where}: {connection.name} holds it back for {throttle_ms} ms by a quota")
    by_place = {(found.topic, found.partition): found for found in partitions}
    places = [(i.topic_id if version >= wire_fetch.BY_ID else i.topic, i.partition) for i in items]
    if len(partitions) != len(items) or by_place.keys() != set(places):
        raise ProtocolError(f"{where}: {connection.name} answers for {len(partitions)} partitions")
    return [by_place[place] for place in places]


def fetch_version(connection: Connection) -> int:
    """By topic id where the broker can: a recreated topic is then never mistaken for the old one."""
    return connection.version_of(wire_fetch.API_KEY, wire_fetch.BY_NAME, wire_fetch.BY_ID)
