"""A fetch loop for each source broker: what it brings is translated and laid before the producers."""

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

from kmirror.engine.backoff import wait_for_event
from kmirror.engine.brake import Brake
from kmirror.engine.budget import Budget
from kmirror.engine.coalesce import SMALL_BYTES
from kmirror.engine.copy import PartitionCopy, now_ms
from kmirror.engine.denied import explained
from kmirror.engine.opening import fetch_version
from kmirror.engine.reencode import reencode
from kmirror.engine.steps import Append, Fill, Form, Gap, Reencode, Step, Stop
from kmirror.engine.translate import translate
from kmirror.engine.window import FAR_S, MOST_LANES, Window, fetch_window
from kmirror.errors import ClusterError
from kmirror.log import events
from kmirror.model.failures import Failure
from kmirror.model.mirror import MirrorError
from kmirror.model.rights import Need
from kmirror.model.settings import LinkSettings
from kmirror.wire import batch as wire
from kmirror.wire import fetch as wire_fetch
from kmirror.wire.cluster import Cluster
from kmirror.wire.connection import MAX_FRAME_BYTES, Connection
from kmirror.wire.errors import (
    CORRUPT_MESSAGE,
    OFFSET_OUT_OF_RANGE,
    BrokerError,
    ProtocolError,
    is_authorization,
    is_retriable,
)
from kmirror.wire.fetch import Fetched, FetchPartition

log = events(__name__)

_SHORT_WAIT_MS: Final = 10  # long polls are cut short while partitions wait for room
_RETRY_S: Final = 0.25
_FULL_S: Final = 0.02  # acks make room within milliseconds
_IDLE_S: Final = 0.5
_ANSWER_S: Final = 10.0  # a fetch is given up lightly, and a way that swallows all is to be left soon
_SLEEPS: Final = Window(0, 0, 0, 0)


class SourceFetcher:
    """Fetches from source broker `node` for all partitions that it leads, up to the last stable offset.

    `brokers` says from how many is fetched, `assigned` which partitions of the link a node leads. `on_ready` is told of
    a partition that has something to send, `on_end` of one that can't go on, `on_out_of_range` of one whose position
    the source does not hold, `on_moved` of one that is to be fetched from another replica, `on_stale` when leaders or
    topic ids have to be read again.
    """

    def __init__(
        self,
        node: int,
        cluster: Cluster,
        settings: LinkSettings,
        budget: Budget,
        brake: Brake,
        *,
        brokers: Callable[[], int],
        assigned: Callable[[int], Iterable[PartitionCopy]],
        on_ready: Callable[[PartitionCopy], None],
        on_end: Callable[[PartitionCopy, MirrorError], None],
        on_out_of_range: Callable[[PartitionCopy], None],
        on_moved: Callable[[PartitionCopy], None],
        on_stale: Callable[[], None],
    ) -> None:
        self._node = node
        self._cluster = cluster
        self._settings = settings
        self._budget = budget
        self._brake = brake
        self._brokers = brokers
        self._assigned = assigned
        self._on_ready = on_ready
        self._on_end = on_end
        self._on_out_of_range = on_out_of_range
        self._on_moved = on_moved
        self._on_stale = on_stale
        self._turn = 0
        self._lanes = [asyncio.Event()]

    def wake(self) -> None:
        """There may be more to fetch."""
        for lane in self._lanes:
            lane.set()

    async def run(self) -> None:
        """Until cancelled. From near one lane does it all, the others sleep."""
        self._lanes = [asyncio.Event() for _ in range(MOST_LANES)]
        async with asyncio.TaskGroup() as lanes:
            for lane in range(MOST_LANES):
                lanes.create_task(self._run_lane(lane))

    async def _run_lane(self, lane: int) -> None:
        wake = self._lanes[lane]
        while True:
            window, wanted, full = self._wanted(lane)
            if not wanted:
                wake.clear()
                await wait_for_event(wake, _FULL_S if full else _IDLE_S)
                continue
            for copy in wanted:
                copy.fetching = True
            try:
                await self._fetch(lane, window, wanted, short=full)
            except ClusterError as e:
                for copy in wanted:
                    if not copy.nearby.leave():
                        copy.in_trouble(e, at_source=True)
                    self._on_moved(copy)
                self._on_stale()
                await asyncio.sleep(_RETRY_S)
            finally:
                for copy in wanted:
                    copy.fetching = False

    def _wanted(self, lane: int) -> tuple[Window, list[PartitionCopy], bool]:
        """The partitions to fetch now, each turn beginning with another one; and whether any waits for room."""
        now = time.monotonic()
        if lane and self._cluster.round_trip_s < FAR_S:
            return _SLEEPS, [], False
        all_ = list(self._assigned(self._node))
        window = fetch_window(
            self._settings,
            brokers=self._brokers(),
            partitions=len(all_),
            round_trip_s=self._cluster.round_trip_s,
        )
        mine = all_[lane :: window.lanes] if lane < window.lanes else []
        wanted = [copy for copy in mine if copy.wants_fetch(now, window.room_bytes) and not copy.fetching]
        if sum(copy.queued_bytes for copy in all_) > window.room_bytes:  # more would only wait in memory
            return window, [], True
        self._turn = (self._turn + 1) % max(1, len(wanted))
        full = any(copy.is_open and copy.is_full(window.room_bytes) for copy in mine)
        return window, wanted[self._turn :] + wanted[: self._turn], full

    async def _fetch(self, lane: int, window: Window, wanted: list[PartitionCopy], *, short: bool) -> None:
        connection = await self._cluster.connection(self._node, f"fetch-{lane}" if lane else "fetch")
        await connection.unthrottled()
        reserved = await self._brake.room(window.response_bytes)
        await self._budget.acquire(reserved)
        kept = 0
        try:
            # Much may have happened meanwhile; from here to the request nothing is waited for.
            now = time.monotonic()
            wanted = [copy for copy in wanted if copy.wants_fetch(now, window.room_bytes)]
            if not wanted:
                return
            version = fetch_version(connection)
            asked = {_place(copy, version): (copy, copy.generation, copy.position) for copy in wanted}
            each = window.each(len(wanted))
            frame = await self._ask(connection, version, wanted, (each, reserved), short=short)
            throttle_ms, error, partitions = wire_fetch.decode_fetch(frame, version)
            self._note_throttle(connection, throttle_ms)
            if error:
                raise BrokerError(error, "Fetch")
            for fetched in partitions:
                if (fetched.topic, fetched.partition) not in asked:
                    raise ProtocolError(f"source broker {self._node} answered for a partition that was not asked")
                copy, generation, position = asked[fetched.topic, fetched.partition]
                self._brake.took(fetched.records)
                if copy.is_open and (generation, position) == (copy.generation, copy.position):
                    kept += self._deliver(copy, fetched)
        finally:
            self._budget.adjust(reserved, kept)

    def _ask(
        self, connection: Connection, version: int, wanted: list[PartitionCopy], most: tuple[int, int], *, short: bool
    ) -> "asyncio.Future[memoryview]":
        """Sends the fetch for at most so many bytes of each partition and of all; the future gives its answer."""
        asked_ms = now_ms()
        request = []
        for copy in wanted:
            copy.asked_ms = asked_ms
            each = max(copy.fetch_bytes, most[0])
            place = (copy.source_topic, copy.source_topic_id, copy.partition)
            request.append(FetchPartition(*place, copy.position, each, copy.position_epoch))
        body = wire_fetch.encode_fetch(
            version,
            request,
            max_wait_ms=_SHORT_WAIT_MS if short else self._settings.fetch_wait_ms,
            max_bytes=most[1],
            rack="" if any(copy.nearby.is_avoided for copy in wanted) else self._settings.rack,
        )
        timeout = min(_ANSWER_S, self._settings.request_timeout_s) + self._settings.fetch_wait_ms / 1000
        return connection.send(wire_fetch.API_KEY, version, [body], flexible=True, timeout=timeout)

    def _note_throttle(self, connection: Connection, ms: int) -> None:
        connection.throttled(ms)
        self._cluster.counters.throttled_s += ms / 1000

    def _deliver(self, copy: PartitionCopy, fetched: Fetched) -> int:
        """Queues what came for one partition; returns the bytes that are kept."""
        leader = self._cluster.leader(copy.source_topic, copy.partition)
        if fetched.preferred >= 0 and fetched.preferred != self._node:
            log.debug("a nearer replica is fetched from", topic=copy.topic, partition=copy.partition)
            copy.nearby.take(fetched.preferred, leader)
            self._on_moved(copy)
            return 0
        follows = leader != self._node
        steps = list(translate(fetched.records, copy.position, fetched.aborted, (SMALL_BYTES, copy.merged_bytes)))
        if follows and (fetched.error or fetched.diverging is not None or any(map(_needs_leader, steps))):
            # It may be behind, begin later, or be compacted further: how the log is the leader says.
            copy.nearby.leave()
            self._on_moved(copy)
            return 0
        if fetched.error:
            self._refused(copy, fetched.error)
            return 0
        if fetched.diverging is not None:
            message = f"the source's log was cut at offset {fetched.diverging} and went on with other records"
            self._on_end(copy, MirrorError(Failure.UNEXPECTED_TRUNCATION, message, offset=fetched.diverging))
            return 0
        copy.source_seen(
            max(fetched.last_stable_offset, copy.source_end or 0) if follows else fetched.last_stable_offset
        )
        kept = 0
        start = copy.position
        for step in self._sendable(steps):
            if copy.limit is not None and step.base >= copy.limit:
                break
            if isinstance(step, Stop):
                copy.ending = step
                break
            copy.enqueue(step)
            kept += step.size
        if copy.limit is not None:
            copy.cut_at(copy.limit)
        if copy.position > start:
            copy.position_epoch = _epoch_before(copy.position, steps, fetched.records)
        if copy.ending is None and copy.position == start and len(fetched.records):
            self._want_more(copy, wire.first_batch_bytes(fetched.records) or 0)
        else:
            copy.fetch_bytes = 0
        if copy.position > start:
            self._on_ready(copy)
        elif copy.ending is not None and copy.drained:
            self.end(copy)
        return kept

    def _want_more(self, copy: PartitionCopy, size: int) -> None:
        """The next batch did not fit into what was asked for: ask for all of it."""
        if size > MAX_FRAME_BYTES:
            message = f"the batch at offset {copy.position} says that it has {size} bytes"
            self._on_end(copy, MirrorError(Failure.CORRUPT_BATCH, message, offset=copy.position))
        copy.fetch_bytes = size

    @staticmethod
    def _sendable(steps: Iterable[Step]) -> Iterator[Append | Fill | Stop]:
        for step in steps:
            if not isinstance(step, Reencode):
                yield step
                continue
            try:
                yield from reencode(step)
            except ValueError as e:
                yield Stop(step.base, Failure.CORRUPT_BATCH, str(e))
                return

    def end(self, copy: PartitionCopy) -> None:
        """All before the step that ends the copy is copied: tell why it ends."""
        assert copy.ending is not None
        self._on_end(copy, MirrorError(copy.ending.code, copy.ending.message, offset=copy.ending.base))

    def _refused(self, copy: PartitionCopy, code: int) -> None:
        error = BrokerError(code, f"Fetch {copy.name}")
        if code == OFFSET_OUT_OF_RANGE:
            copy.retry_fetch_at = time.monotonic() + _RETRY_S
            self._on_out_of_range(copy)
        elif code == CORRUPT_MESSAGE:
            message = f"the source's broker finds its own log damaged at offset {copy.position}"
            self._on_end(copy, MirrorError(Failure.CORRUPT_BATCH, message, offset=copy.position))
        elif is_retriable(code) or is_authorization(code):
            need = Need("TOPIC", "READ", copy.source_topic)
            copy.in_trouble(explained(error, self._cluster.access, need=need), at_source=True)
            copy.retry_fetch_at = time.monotonic() + _RETRY_S
            self._on_stale()
        else:
            self._on_end(copy, MirrorError(Failure.SOURCE_REFUSED, str(error), offset=copy.position))


def _place(copy: PartitionCopy, version: int) -> tuple[str | bytes, int]:
    """As an answer of this version names the partition."""
    return copy.source_topic_id if version >= wire_fetch.BY_ID else copy.source_topic, copy.partition


def _epoch_before(position: int, steps: Sequence[Step], records: memoryview) -> int:
    """The leader epoch of the batch before `position`: of a run of batches it is one, so most need not be looked at."""
    last = steps[-1]
    if isinstance(last, Append) and last.end == position:
        return wire.leader_epoch(last.batch)
    return wire.epoch_before(records, position)


def _needs_leader(step: Step) -> bool:
    """Holes are each replica's own, as its cleaner has left them, and damage is, too."""
    if isinstance(step, Reencode):
        return step.form is Form.HOLES
    return isinstance(step, Stop) or (isinstance(step, Fill) and step.gap is Gap.HOLE)
