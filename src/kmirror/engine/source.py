"""A fetch loop for each source broker: what it brings is translated and laid before the producers."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from typing import Final

from kmirror.engine.backoff import Backoff, wait_for_event
from kmirror.engine.brake import Brake
from kmirror.engine.budget import Budget
from kmirror.engine.copy import PartitionCopy, now_ms
from kmirror.engine.intake import RETRY_S, FetchEvents, Intake
from kmirror.engine.lane import Lane
from kmirror.engine.questions import fetch_version
from kmirror.engine.slow_brokers import SlowBrokers
from kmirror.engine.window import MOST_LANES, Window, fetch_window
from kmirror.errors import ClusterError
from kmirror.log import events
from kmirror.model.settings import LinkSettings
from kmirror.wire import fetch as wire_fetch
from kmirror.wire.cluster import Cluster
from kmirror.wire.connection import Connection
from kmirror.wire.errors import BrokerError, error_name
from kmirror.wire.fetch import FetchAnswer
from kmirror.wire.fetch_reader import FetchReader
from kmirror.wire.pipes import PipePool

log = events(__name__)

_SHORT_WAIT_MS: Final = 10  # long polls are cut short while partitions wait for room
_FULL_S: Final = (0.001, 0.02)  # acks make room within milliseconds, or the destination is slow and longer looks do
_IDLE_S: Final = 0.5
_HELD_PART: Final = 1.25  # of the link's memory; what is more are answers of which only a small part still waits
_ANSWER_S: Final = 10.0  # a fetch is given up lightly, and a way that swallows all is to be left soon


class SourceFetcher:
    """Fetches from source broker `node` for all partitions that are given to it, up to the last stable offset.

    `brokers` says from how many is fetched, `destinations` to how many is written, `fetched_from` from which broker a
    partition is to be, `pipes` in which large batches may wait.
    """

    def __init__(
        self,
        node: int,
        cluster: Cluster,
        settings: LinkSettings,
        budget: Budget,
        brake: Brake,
        *,
        tell: FetchEvents,
        brokers: Callable[[], int],
        destinations: Callable[[], int],
        fetched_from: Callable[[PartitionCopy], int | None],
        pipes: Callable[[], PipePool | None],
    ) -> None:
        self._node = node
        self._cluster = cluster
        self._settings = settings
        self._budget = budget
        self._brake = brake
        self._brokers = brokers
        self._destinations = destinations
        self._tell = tell
        self._intake = Intake(node, cluster.access, tell)
        self._queued: set[PartitionCopy] = set()
        self._waiting = 0
        self._slow = SlowBrokers()
        self._pipes = pipes
        self._window_of = (-1, -1, -1.0)
        self._last_window: Window
        self._lanes = [Lane(lambda copy: fetched_from(copy) == node, tell.on_moved) for _ in range(MOST_LANES)]

    def end(self, copy: PartitionCopy) -> None:
        """As `Intake.end`."""
        self._intake.end(copy)

    def fetch(self, copy: PartitionCopy) -> None:
        """`copy` is to be fetched from this broker, or something has changed by which it may be."""
        lane = copy.lane
        if lane is not None and lane not in self._lanes and not lane.awaits(copy):
            lane.release(copy)
        if copy.lane is None:
            lanes = self._lanes[: self._window().lanes]
            min(lanes, key=lambda lane: len(lane.members)).add(copy)
        else:
            copy.touch()  # a lane of another broker gives it away as soon as it may

    async def run(self) -> None:
        """Until cancelled. From near one lane does it all, the others sleep."""
        async with asyncio.TaskGroup() as lanes:
            for number in range(MOST_LANES):
                lanes.create_task(self._run_lane(number))

    async def end_sessions(self) -> None:
        """Has the broker forget the fetch sessions, which it would else keep for minutes. Raises ClusterError."""
        for request in filter(None, [lane.session.final_request() for lane in self._lanes]):
            connection = await self._cluster.connection(self._node, "check")  # the others may wait for answers
            version = fetch_version(connection)
            body = wire_fetch.encode_fetch(version, (), max_wait_ms=0, max_bytes=0, session=request.session)
            await connection.send(
                wire_fetch.API_KEY, version, [body], flexible=True, timeout=self._settings.request_timeout_s
            )

    async def _run_lane(self, number: int) -> None:
        lane = self._lanes[number]
        full = Backoff(*_FULL_S)
        while True:
            await asyncio.sleep(0)  # what came is sent before more is asked for
            self._look_at_brokers(self._window().room_bytes)
            window = self._look(number)
            if not lane.asked:
                lane.wake.clear()
                await wait_for_event(lane.wake, _IDLE_S)
                continue
            if self._waiting > window.room_bytes:  # more would only wait in memory
                await asyncio.sleep(full.next())
                continue
            full.reset()
            try:
                await self._fetch(number)
            except ClusterError as e:
                lane.session.restart()
                for copy in list(lane.asked):
                    if not copy.nearby.leave():
                        copy.in_trouble(e, at_source=True)
                    lane.release(copy)
                    self._tell.on_moved(copy)
                self._tell.on_stale()
                await asyncio.sleep(RETRY_S)

    @property
    def _members(self) -> int:
        return sum([len(lane.members) for lane in self._lanes])

    def _window(self) -> Window:
        """Made anew when something of it has changed: it is asked for several times with each fetch."""
        made_of = (self._brokers(), self._members, self._cluster.round_trip_s)
        if made_of != self._window_of:
            brokers, partitions, round_trip_s = self._window_of = made_of
            self._last_window = fetch_window(
                self._settings, brokers=brokers, partitions=partitions, round_trip_s=round_trip_s
            )
        return self._last_window

    def _look(self, number: int) -> Window:
        """Has a lane take up what has changed: its share of all partitions."""
        window = self._window()
        share = -(-self._members // window.lanes) if number < window.lanes else 0
        self._lanes[number].look(most=share, room_bytes=window.room_bytes, each=window.each, slow=self._slow.nodes)
        return window

    def _look_at_brokers(self, room_bytes: int) -> None:
        """For a slow broker of the destination nothing is fetched for now, and the others don't wait for it."""
        self._queued = {copy for copy in self._queued if copy.queued_bytes}
        if not self._queued and self._slow.is_none:
            self._waiting = 0
            return
        waiting: Counter[int] = Counter()
        for copy in self._queued:
            waiting[copy.node] += copy.queued_bytes
        changed = self._slow.look(waiting, room_bytes, brokers=self._destinations(), now_s=time.monotonic())
        self._waiting = sum(size for node, size in waiting.items() if node not in self._slow.nodes)
        if not changed:
            return
        log.debug("slow brokers of the destination", nodes=sorted(self._slow.nodes))
        for lane in self._lanes:
            for copy in lane.members:
                if copy.node in changed:
                    lane.touch(copy)

    async def _fetch(self, number: int) -> None:
        lane = self._lanes[number]
        connection = await self._cluster.connection(self._node, "fetch", number)
        await connection.unthrottled()
        reserved = await self._brake.room(self._window().response_bytes)
        await self._budget.acquire(reserved)
        kept = 0
        try:
            # Much may have happened meanwhile; from here to the request nothing is waited for.
            version = fetch_version(connection)
            lane.use(connection, version)
            self._look(number)
            if lane.asked:
                asked_ms = now_ms()
                answer = await self._ask(lane, connection, version, reserved)
                kept = self._take(lane, answer, asked_ms)
        finally:
            self._budget.adjust(reserved, kept)

    async def _ask(self, lane: Lane, connection: Connection, version: int, most: int) -> FetchAnswer:
        """One fetch of at most so many bytes. Raises ClusterError."""
        request = lane.next_request()
        body = wire_fetch.encode_fetch(
            version,
            request.partitions,
            max_wait_ms=_SHORT_WAIT_MS if lane.full else self._settings.fetch_wait_ms,
            max_bytes=most,
            rack="" if lane.avoiding else self._settings.rack,
            session=request.session,
            forgotten=request.forgotten,
        )
        timeout = min(_ANSWER_S, self._settings.request_timeout_s) + self._settings.fetch_wait_ms / 1000
        lane.busy = True
        try:
            pipes = None if lane.suspect else self._pipes()
            reader = FetchReader(version, pipes) if pipes else None
            frame = await connection.send(
                wire_fetch.API_KEY, version, [body], flexible=True, timeout=timeout, reader=reader
            )
            answer = wire_fetch.decode_fetch(frame, version, reader.piped if reader else {})
        except BaseException:
            lane.session.lost()
            raise
        finally:
            lane.busy = False
        self._note_throttle(connection, answer.throttle_ms)
        return answer

    def _take(self, lane: Lane, answer: FetchAnswer, asked_ms: int) -> int:
        """Queues what came for all partitions; returns the bytes that are kept."""
        if lane.session.answered(answer.error, answer.session_id):
            log.debug("a new fetch session is begun", broker=self._node, why=error_name(answer.error))
            return 0
        if answer.error:
            raise BrokerError(answer.error, "Fetch")
        kept = 0
        for fetched in answer.partitions:
            self._brake.took(fetched)
            copy, is_due = lane.answer_for(fetched)
            leader = self._cluster.leader(copy.source_topic, copy.partition)
            told = not fetched.error and fetched.diverging is None and fetched.preferred < 0
            if is_due:
                taken = self._intake.take(copy, fetched, leader=leader)
                told = taken is not None
                kept += taken or 0
                self._queued.add(copy)
            if told:  # where the source ends a broker tells but once; one that does not lead may be behind
                known = 0 if leader == self._node else copy.source_end or 0
                lane.seen(copy, max(fetched.last_stable_offset, known), asked_ms)
        if self._cluster.held_bytes > _HELD_PART * self._settings.fetch_buffer_bytes:
            for copy in self._queued:
                copy.own_queue()
        if not answer.throttle_ms:  # else the broker has not even looked
            lane.all_seen(asked_ms)
        return kept

    def _note_throttle(self, connection: Connection, ms: int) -> None:
        connection.throttled(ms)
        self._cluster.counters.throttled_s += ms / 1000
