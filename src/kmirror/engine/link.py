"""The engine of one link: reconciles what is wanted with what runs, and owns every loop.

All state is changed in one event loop. A loop that dies of a bug ends the whole run, loudly: the next one goes on from
the destination's log end.
"""

import asyncio
import logging
from collections.abc import Coroutine, Iterator, Mapping
from typing import Any, Final

from kmirror.engine.backoff import Backoff
from kmirror.engine.budget import Budget
from kmirror.engine.copy import PartitionCopy, now_ms
from kmirror.engine.destination import DestinationProducer
from kmirror.engine.gap_filler import GapFiller
from kmirror.engine.identity import Identity
from kmirror.engine.metadata import MetadataLoop
from kmirror.engine.mirror_copy import MirrorCopy
from kmirror.engine.opening import Broken, Sides, SourceTrouble, open_partition, settle
from kmirror.engine.recorder import Recorder
from kmirror.engine.retention import bridge
from kmirror.engine.source import SourceFetcher
from kmirror.engine.steps import Fill
from kmirror.engine.tenure import Tenure
from kmirror.errors import ClusterError, KmirrorError
from kmirror.model.link import Link
from kmirror.model.mirror import MirrorError
from kmirror.model.settings import LinkSettings
from kmirror.model.states import LIVE, Event, MirrorState
from kmirror.model.status import MirrorStatus, Trouble
from kmirror.wire.cluster import Cluster

log = logging.getLogger(__name__)

_OPENING_AT_ONCE: Final = 16
_DRAIN_S: Final = 8.0
_GONE_AFTER_S: Final = 300.0  # cluster.link.retry.timeout.ms
_TICK_S: Final = 0.05


class LinkEngine:
    """`apply` tells what is wanted, `run` does it until `stop`; `mirrors` and the troubles are there to be shown."""

    def __init__(self, link: Link, settings: LinkSettings, recorder: Recorder) -> None:
        self._settings = settings
        self._recorder = recorder
        self._budget = Budget(settings.fetch_buffer_bytes)
        self._source = Cluster(link.source_bootstrap, "source", link.source_cluster_id)
        self._destination = Cluster(link.destination_bootstrap, "destination", link.destination_cluster_id)
        self.identity = Identity(self._destination, link.transactional_id)
        self.tenure = Tenure(self.identity, self._on_held, self._close_all)
        age = settings.metadata_max_age_s
        self.source_metadata = MetadataLoop(self._source, lambda: self._topics("source"), age, self._on_metadata)
        self.destination_metadata = MetadataLoop(
            self._destination, lambda: self._topics("destination"), age, self._on_metadata
        )
        self.mirrors: dict[str, MirrorCopy] = {}
        self._fetchers: dict[int, SourceFetcher] = {}
        self._producers: dict[int, DestinationProducer] = {}
        self._gap_fillers: dict[int, GapFiller] = {}
        self._openers: dict[PartitionCopy, asyncio.Task[None]] = {}
        self._opening = asyncio.Semaphore(_OPENING_AT_ONCE)
        self._tasks: set[asyncio.Task[Any]] = set()
        self._stopping = asyncio.Event()
        self._fault: BaseException | None = None

    # --- what is wanted

    def apply(self, mirrors: Mapping[str, Any]) -> None:
        """Takes the mirrors of the link as they are wanted now (name to Mirror)."""
        for topic in self.mirrors.keys() - mirrors.keys():
            self.mirrors.pop(topic).halt()
        for topic, mirror in mirrors.items():
            found = self.mirrors.get(topic)
            if found is None:
                found = self.mirrors[topic] = MirrorCopy(mirror, self._budget)
            else:
                found.update(mirror)
            self._reconcile(found)
        self.source_metadata.mark_stale()
        self.destination_metadata.mark_stale()

    def _reconcile(self, mirror: MirrorCopy) -> None:
        wanted = mirror.mirror.state in LIVE and mirror.error is None and not mirror.ending
        stop = mirror.mirror.stop
        if mirror.mirror.state is MirrorState.PENDING_STOPPED and stop:
            wanted = wanted and stop.event is not Event.FAILOVER
            if not mirror.finishing:
                mirror.finishing = True
                self._start(self._finish(mirror))
        if wanted and not mirror.running:
            log.info("mirror %s: copying", mirror.mirror.topic)
            mirror.running = True
        elif not wanted and mirror.running:
            log.info("mirror %s: halted (%s)", mirror.mirror.topic, mirror.mirror.state)
            mirror.halt()
        for copy in mirror.partitions.values():
            self._open_when_due(mirror, copy)

    def stop(self) -> None:
        """Lets `run` end: what is in flight is waited for, at most 8 s."""
        self._stopping.set()

    # --- running

    async def run(self) -> None:
        """Until `stop`, or until a loop dies: then its exception is raised."""
        asyncio.get_running_loop().set_exception_handler(self._on_stray)
        for loop in (self.source_metadata.run(), self.destination_metadata.run(), self.tenure.run()):
            self._start(loop)
        try:
            await self._stopping.wait()
            for mirror in self.mirrors.values():
                mirror.halt()
            async with asyncio.timeout(_DRAIN_S):
                await self._all_drained()
        except TimeoutError:
            log.warning("stopping with batches in flight: the next run reads where the log ends")
        finally:
            for task in (*self._tasks, *self._openers.values()):
                task.cancel()
            self.identity.close()
            self._source.close()
            self._destination.close()
        if self._fault:
            raise self._fault

    async def _all_drained(self) -> None:
        while not all(mirror.drained for mirror in self.mirrors.values()) and self._fault is None:  # noqa: ASYNC110
            await asyncio.sleep(_TICK_S)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._on_done)

    def _on_done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self._die(task.exception())

    def _on_stray(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if isinstance(error, ClusterError):  # an answer that nobody waits for any more
            log.debug("dropped: %s", error)
            return
        self._die(error or RuntimeError(context["message"]))

    def _die(self, error: BaseException | None) -> None:
        self._fault = self._fault or error
        self._stopping.set()

    def _on_held(self, changed: bool) -> None:
        if changed:
            log.warning("the destination gave another producer id: every partition is opened again")
            self._close_all()
        self._on_metadata()

    def _close_all(self) -> None:
        for mirror in self.mirrors.values():
            for copy in mirror.partitions.values():
                copy.closed()

    # --- metadata

    def _topics(self, side: str) -> Iterator[str]:
        for mirror in self.mirrors.values():
            if mirror.mirror.state is not MirrorState.STOPPED:
                yield mirror.mirror.source_topic if side == "source" else mirror.mirror.topic

    def _on_metadata(self) -> None:
        for mirror in list(self.mirrors.values()):
            self._look_at_topics(mirror)
            for copy in mirror.partitions.values():
                copy.close_when_idle()
                self._open_when_due(mirror, copy)
                node = self._source.leader(copy.source_topic, copy.partition)
                if mirror.running and node is not None and node not in self._fetchers:
                    self._start_fetcher(node)
        for fetcher in self._fetchers.values():
            fetcher.wake.set()

    def _look_at_topics(self, mirror: MirrorCopy) -> None:
        if not mirror.running:
            return
        source = self._source.topics.get(mirror.mirror.source_topic)
        destination = self._destination.topics.get(mirror.mirror.topic)
        if not self._source.topics or not self._destination.topics:
            return  # not read yet
        fault = mirror.topic_fault(source, destination, _GONE_AFTER_S)
        if fault:
            self._fail(mirror, fault)
        elif mirror.suspected:
            asyncio.get_running_loop().call_later(1.0, self._mark_stale)
        elif source and len(source.leaders) > mirror.mirror.partitions and not mirror.growing:
            mirror.growing = True
            self._start(self._grow(mirror, len(source.leaders)))

    def _mark_stale(self) -> None:
        self.source_metadata.mark_stale()
        self.destination_metadata.mark_stale()

    async def _grow(self, mirror: MirrorCopy, partitions: int) -> None:
        topic = mirror.mirror.topic
        log.info("mirror %s: the source has %d partitions now", topic, partitions)
        await self._insist(mirror, lambda: self._recorder.grow(topic, partitions))
        mirror.growing = False

    # --- partitions

    def _assigned(self, node: int) -> Iterator[PartitionCopy]:
        for mirror in self.mirrors.values():
            if mirror.running:
                for copy in mirror.partitions.values():
                    if self._source.leader(copy.source_topic, copy.partition) == node:
                        yield copy

    def _start_fetcher(self, node: int) -> None:
        fetcher = SourceFetcher(
            node,
            self._source,
            self._settings,
            self._budget,
            assigned=self._assigned,
            on_ready=self._send_on,
            on_end=self._on_end,
            on_out_of_range=lambda copy: self._start(self._bridge(copy)),
            on_stale=self.source_metadata.mark_stale,
        )
        self._fetchers[node] = fetcher
        self._start(fetcher.run())

    async def _bridge(self, copy: PartitionCopy) -> None:
        if copy.bridging:
            return
        copy.bridging = True
        try:
            gap = await bridge(copy, self._source, self._recorder, self._settings.gap_fill_max)
        except Broken as e:
            self._on_end(copy, e.error)
        except KmirrorError as e:
            copy.in_trouble(e, at_source=isinstance(e, ClusterError))
        else:
            if gap:
                log.warning(
                    "%s: offsets %d to %d are lost: retention overran the mirror", copy.name, gap.base, gap.end - 1
                )
                copy.enqueue(gap)
                self._send_on(copy)
        finally:
            copy.bridging = False

    def _producer(self, node: int) -> DestinationProducer:
        if node not in self._producers:
            producer = DestinationProducer(
                node,
                self._destination,
                self._budget,
                producer_id=lambda: self.identity.producer_id or 0,
                request_timeout_s=self._settings.request_timeout_s,
                on_drained=self._on_drained,
                on_broken=self._on_broken,
                on_end=self._on_end,
            )
            self._producers[node] = producer
            self._start(producer.run())
        return self._producers[node]

    def _gap_filler(self, node: int) -> GapFiller:
        if node not in self._gap_fillers:
            filler = GapFiller(
                node,
                self._destination,
                self.identity,
                on_filled=self._on_drained,
                on_broken=self._on_broken,
                on_end=self._on_end,
                on_superseded=lambda _: self.tenure.look(),
            )
            self._gap_fillers[node] = filler
            self._start(filler.run())
        return self._gap_fillers[node]

    def _send_on(self, copy: PartitionCopy) -> None:
        """Batches go at once, several in flight; a gap waits until nothing is."""
        if not copy.is_open:
            return
        if not isinstance(copy.next_step(), Fill):
            self._producer(copy.node).ready(copy)
        elif not copy.busy:
            self._gap_filler(copy.node).ready(copy)

    def _open_when_due(self, mirror: MirrorCopy, copy: PartitionCopy) -> None:
        due = mirror.running and not copy.is_open and not copy.busy and copy not in self._openers
        if due and self.tenure.held:
            task = asyncio.get_running_loop().create_task(self._open(mirror, copy))
            self._openers[copy] = task
            task.add_done_callback(lambda done: self._opener_done(copy, done))

    def _opener_done(self, copy: PartitionCopy, task: asyncio.Task[None]) -> None:
        self._openers.pop(copy, None)
        self._on_done(task)

    async def _open(self, mirror: MirrorCopy, copy: PartitionCopy) -> None:
        while mirror.running and self.tenure.held:
            producer_id = self.identity.producer_id
            try:
                async with self._opening:
                    await open_partition(copy, Sides(self._source, self._destination, self.identity))
            except Broken as e:
                self._fail(mirror, e.error)
            except ClusterError as e:
                copy.in_trouble(e, at_source=isinstance(e, SourceTrouble))
                self._mark_stale()
                await asyncio.sleep(copy.backoff.next())
            else:
                log.debug("%s: opened at %d", copy.name, copy.appender.log_end)
                if not mirror.running or not self.tenure.held or producer_id != self.identity.producer_id:
                    copy.closed()
                    continue
                self._on_metadata_of(copy)
                return

    def _on_metadata_of(self, copy: PartitionCopy) -> None:
        node = self._source.leader(copy.source_topic, copy.partition)
        if node is not None and node not in self._fetchers:
            self._start_fetcher(node)
        for fetcher in self._fetchers.values():
            fetcher.wake.set()

    def _on_broken(self, copy: PartitionCopy, error: ClusterError) -> None:
        """What was sent is refused or in doubt: once all answers are in, the partition is opened again."""
        copy.in_trouble(error, at_source=False)
        copy.closed()
        self.destination_metadata.mark_stale()
        self._on_drained(copy)

    def _on_drained(self, copy: PartitionCopy) -> None:
        mirror = self.mirrors.get(copy.topic)
        if mirror is None or mirror.partitions.get(copy.partition) is not copy:
            return
        if copy.is_open and copy.ending is not None and copy.drained:
            node = self._source.leader(copy.source_topic, copy.partition)
            if node in self._fetchers:
                self._fetchers[node].end(copy)
        self._send_on(copy)
        self._open_when_due(mirror, copy)

    # --- endings

    def _on_end(self, copy: PartitionCopy, error: MirrorError) -> None:
        mirror = self.mirrors.get(copy.topic)
        if mirror:
            place = MirrorError(error.code, error.message, copy.partition, error.offset)
            self._fail(mirror, place)

    def _fail(self, mirror: MirrorCopy, error: MirrorError) -> None:
        if mirror.error is not None:
            return
        mirror.error = error
        where = "" if error.partition is None else f"[{error.partition}]"
        log.error("mirror %s%s FAILED: %s: %s", mirror.mirror.topic, where, error.code, error.message)
        mirror.halt()
        topic = mirror.mirror.topic
        self._start(self._insist(mirror, lambda: self._recorder.failed(topic, error)))

    async def _finish(self, mirror: MirrorCopy) -> None:
        """Ends a promote once its targets are reached, a failover at once."""
        topic = mirror.mirror.topic
        while mirror.mirror.state is MirrorState.PENDING_STOPPED:
            stop = mirror.mirror.stop
            failover = stop is not None and stop.event is Event.FAILOVER
            if failover or mirror.ending or (mirror.running and mirror.at_targets):
                mirror.ending = True
                if mirror.running:
                    mirror.halt()
                if mirror.drained:
                    await self._settle(mirror)
                    await self._insist(mirror, lambda: self._recorder.stopped(topic))
                    log.info("mirror %s: stopped", topic)
                    break
            elif mirror.error:
                break
            await asyncio.sleep(_TICK_S)
        mirror.finishing = False

    async def _settle(self, mirror: MirrorCopy) -> None:
        for copy in mirror.partitions.values():
            while copy.in_doubt:
                try:
                    await settle(copy, self._destination)
                except ClusterError as e:
                    copy.in_trouble(e, at_source=False)
                    self.destination_metadata.mark_stale()
                    await asyncio.sleep(copy.backoff.next())

    async def _insist(self, mirror: MirrorCopy, act: Any) -> None:
        """Does what only passing trouble may hinder, again and again; the trouble is shown meanwhile."""
        backoff = Backoff(0.2, 10.0)
        while True:
            try:
                await act()
            except KmirrorError as e:
                since = mirror.trouble.since_ms if mirror.trouble else now_ms()
                mirror.trouble = Trouble(e.message, since, getattr(e, "code", "INTERNAL_ERROR"))
                log.warning("mirror %s: %s", mirror.mirror.topic, e.message)
                await asyncio.sleep(backoff.next())
            else:
                mirror.trouble = None
                return

    def status(self) -> dict[str, MirrorStatus]:
        """Each mirror as it stands; called once a second."""
        out = {}
        for topic, mirror in self.mirrors.items():
            mirror.sample()
            out[topic] = mirror.status(self.destination_metadata.trouble)
        return out
