"""The fast way to compare a mirror with its source: both logs are fetched side by side as raw batches.

Memory is bounded by the partitions that are compared at once: two answers a side, one in hand and one under way.
"""

import asyncio
from dataclasses import dataclass
from typing import Final

from kmirror.engine.backoff import Backoff
from kmirror.engine.compare import Comparison, Piece, View, pieces
from kmirror.engine.questions import HeldBack, fetch_one
from kmirror.engine.steps import Stop
from kmirror.engine.translate import translate
from kmirror.errors import ClusterError
from kmirror.model.access import Access
from kmirror.model.compaction import Compaction
from kmirror.model.verification import PartitionPlan, TopicPlan, Watcher
from kmirror.wire import rpc
from kmirror.wire.cluster import Cluster, WrongCluster
from kmirror.wire.connection import Connection
from kmirror.wire.errors import OFFSET_OUT_OF_RANGE, check
from kmirror.wire.fetch import READ_COMMITTED, READ_UNCOMMITTED, Fetched, FetchPartition
from kmirror.wire.topic_id import topic_id_bytes

_FETCH_BYTES: Final = 2 << 20
_AT_ONCE: Final = 4
_WAIT_MS: Final = 500
_SILENCE_S: Final = 30.0


class _Moved(Exception):
    """Retention removed what was to be read: the log begins at `start` now."""

    def __init__(self, start: int) -> None:
        super().__init__(start)
        self.start = start


@dataclass(frozen=True, slots=True)
class Addresses:
    """How the clusters of a link are reached, and their ids."""

    source: Access
    source_id: str
    destination: Access
    destination_id: str


def compare_batches(addresses: Addresses, plan: TopicPlan, watcher: Watcher) -> None:
    """Compares all that `plan` names. Blocks; raises ClusterError where that can't be done."""
    asyncio.run(_compare_all(addresses, plan, watcher))


async def _compare_all(addresses: Addresses, plan: TopicPlan, watcher: Watcher) -> None:
    source = Cluster(addresses.source, "source", addresses.source_id)
    destination = Cluster(addresses.destination, "destination", addresses.destination_id)
    todo = list(reversed(plan.partitions))
    locks = (asyncio.Lock(), asyncio.Lock())

    async def work(number: int) -> None:
        theirs = _Log(source, plan.source_topic, topic_id_bytes(plan.source_topic_id), number, locks[0])
        ours = _Log(destination, plan.topic, topic_id_bytes(plan.topic_id), number, locks[1])
        while todo and not watcher.ended():
            await _compare_partition(theirs, ours, todo.pop(), watcher, compacted=plan.compacted)

    workers = [asyncio.create_task(work(number)) for number in range(min(_AT_ONCE, len(todo)))]
    try:
        await asyncio.gather(*workers)
    finally:
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
        source.close()
        destination.close()
        await asyncio.sleep(0)  # transports end a turn later, and the loop ends with us


async def _compare_partition(
    theirs: "_Log", ours: "_Log", plan: PartitionPlan, watcher: Watcher, *, compacted: bool
) -> None:
    compaction = Compaction(watcher.found) if compacted else None
    for span in plan.spans:
        rest = span
        while rest and not watcher.ended():
            comparison = Comparison(plan.partition, rest, watcher.found, compaction)
            try:
                await _compare_span(theirs, ours, plan, comparison, watcher)
                break
            except _Moved as moved:
                gone = range(comparison.position, min(moved.start, rest.stop))
                watcher.skipped(plan.partition, gone)
                rest = range(max(gone.start, gone.stop), rest.stop)
    if compaction is not None:
        compaction.finish(whole=len(plan.spans) == 1 and not watcher.ended())
        watcher.removed(plan.partition, compaction.removed)


async def _compare_span(
    theirs: "_Log", ours: "_Log", plan: PartitionPlan, comparison: Comparison, watcher: Watcher
) -> None:
    span = comparison.span
    left = _Reader(theirs, plan.partition, span, plan.source_end, uncommitted=False)
    right = _Reader(ours, plan.partition, span, plan.stable_end, uncommitted=span.stop > plan.adopted_end)
    try:
        while comparison.position < span.stop and not watcher.ended():
            before = (comparison.position, comparison.records, comparison.size)
            if comparison.source.known <= comparison.destination.known:
                await left.read_into(comparison.source)
            if comparison.destination.known < comparison.source.known:
                await right.read_into(comparison.destination)
            try:
                comparison.advance()
            except ValueError as e:
                raise ClusterError(f"partition {plan.partition} can't be compared: {e}") from e
            watcher.compared(
                comparison.position - before[0], comparison.records - before[1], comparison.size - before[2]
            )
    finally:
        left.close()
        right.close()


class _Reader:
    """Reads the offsets of `span` of one partition, one answer ahead.

    Below `stable` as a read_committed consumer does; from there on, with `uncommitted`, what is there all the same.
    """

    def __init__(self, log: "_Log", partition: int, span: range, stable: int, *, uncommitted: bool) -> None:
        self._log = log
        self._partition = partition
        self._stop = span.stop
        self._stable = min(stable, span.stop)
        self._uncommitted = uncommitted
        self._position = span.start
        self._task = self._start()

    async def read_into(self, view: View) -> None:
        """The next answer. Raises _Moved, ClusterError."""
        if self._task is None:
            view.add((), self._stop)
            return
        fetched, committed = await self._task
        at = self._position
        steps = list(translate(fetched.records, at, fetched.aborted if committed else ()))
        found = list(pieces(steps, self._log.side))
        if not committed:
            found = [piece._replace(committed=False) for piece in found]
        elif self._uncommitted and fetched.aborted:
            found = _with_aborted(found, list(pieces(translate(fetched.records, at), self._log.side)))
        known = (
            steps[-1].base + steps[-1].count if steps and not isinstance(steps[-1], Stop) else self._limit(committed)
        )
        self._stable = min(self._stop, max(self._stable, fetched.last_stable_offset))
        self._position = known
        self._task = self._start()
        view.add(found, known)

    def _limit(self, committed: bool) -> int:
        return self._stable if committed else self._stop

    def _start(self) -> "asyncio.Task[tuple[Fetched, bool]] | None":
        committed = self._position < self._stable
        if not committed and not (self._uncommitted and self._position < self._stop):
            return None
        return asyncio.create_task(self._fetch(committed))

    async def _fetch(self, committed: bool) -> tuple[Fetched, bool]:
        limit = self._limit(committed)
        return await self._log.fetch(self._partition, self._position, limit, committed=committed), committed

    def close(self) -> None:
        if self._task is not None:
            self._task.add_done_callback(_told_elsewhere)
            self._task.cancel()


def _told_elsewhere(task: "asyncio.Task[tuple[Fetched, bool]]") -> None:
    if not task.cancelled():
        task.exception()


def _with_aborted(committed: list[Piece], everything: list[Piece]) -> list[Piece]:
    """Everything, and of each piece whether a read_committed consumer sees it."""
    bases = {piece.base for piece in committed}
    return [piece._replace(committed=piece.base in bases) for piece in everything]


class _Log:
    """Fetches from one topic, on a connection of worker `number`; tries again while leaders move.

    `asking` keeps the workers from asking for metadata side by side, each on a connection of its own.
    """

    def __init__(self, cluster: Cluster, topic: str, topic_id: bytes, number: int, asking: asyncio.Lock) -> None:
        self.side = cluster.role
        self._cluster = cluster
        self._topic = topic
        self._topic_id = topic_id
        self._asking = asking
        self._purpose = f"verify {number}"

    async def fetch(self, partition: int, position: int, limit: int, *, committed: bool) -> Fetched:
        """An answer with a batch, or without one where the log shows nothing from `position` to `limit`."""
        backoff = Backoff(most=1.0)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _SILENCE_S
        while True:
            try:
                fetched = await self._fetch(partition, position, READ_COMMITTED if committed else READ_UNCOMMITTED)
            except WrongCluster:
                raise
            except HeldBack:
                deadline = loop.time() + _SILENCE_S  # it answers
                continue
            except ClusterError:
                if loop.time() > deadline:
                    raise
                await asyncio.sleep(backoff.next())
                await self._refresh(deadline)
                continue
            reached = fetched.last_stable_offset if committed else fetched.high_watermark
            if len(fetched.records) or reached >= limit:
                return fetched
            if loop.time() > deadline:
                raise ClusterError(f"{self._name(partition)} shows nothing from offset {position} to {limit}")

    async def _refresh(self, deadline: float) -> None:
        try:
            async with self._asking:
                await self._cluster.refresh([self._topic])
        except WrongCluster:
            raise
        except ClusterError:
            if asyncio.get_running_loop().time() > deadline:
                raise

    async def _fetch(self, partition: int, position: int, isolation: int) -> Fetched:
        connection = await self._connection(partition)
        item = FetchPartition(self._topic, self._topic_id, partition, position, _FETCH_BYTES)
        found = await fetch_one(connection, item, max_wait_ms=_WAIT_MS, isolation=isolation)
        if found.error == OFFSET_OUT_OF_RANGE:
            start = await rpc.list_offset(connection, self._topic, partition, at=rpc.EARLIEST, replica=rpc.AS_CONSUMER)
            if start > position:
                raise _Moved(start)
        check(found.error, f"Fetch {self._name(partition)}")
        return found

    async def _connection(self, partition: int) -> Connection:
        async with self._asking:
            if self._topic not in self._cluster.topics:
                await self._cluster.refresh([self._topic])
        node = self._cluster.leader(self._topic, partition)
        if node is None:
            raise ClusterError(f"no leader for {self._name(partition)}")
        return await self._cluster.connection(node, self._purpose)

    def _name(self, partition: int) -> str:
        return f"{self.side} {self._topic}[{partition}]"
