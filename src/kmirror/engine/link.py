"""The engine of one link: reconciles what is wanted with what runs, and owns every loop.

All state is changed in one event loop. A loop that dies of a bug ends the whole run, loudly: the next one goes on from
the destination's log end.
"""

import asyncio
import contextlib
import errno
from collections.abc import Coroutine, Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

from kmirror.engine.backoff import Backoff
from kmirror.engine.brake import Brake
from kmirror.engine.budget import Budget
from kmirror.engine.coalesce import MERGED_BYTES
from kmirror.engine.copy import now_ms
from kmirror.engine.counters import RunCounters
from kmirror.engine.fence import Fence
from kmirror.engine.flow import Above, Flow
from kmirror.engine.identity import Identity, OwnIdentity
from kmirror.engine.metadata import MetadataLoop
from kmirror.engine.mirror_copy import MirrorCopy, Owns, owns_all
from kmirror.engine.opening import Sides, settle
from kmirror.engine.questions import Questions
from kmirror.engine.recorder import Recorder
from kmirror.engine.silence import renew_silent
from kmirror.engine.tenure import Tenure
from kmirror.engine.throttling import ThrottleShares
from kmirror.engine.transactions import Transactions
from kmirror.errors import ClusterError, KmirrorError, with_remedy
from kmirror.log import events
from kmirror.model.link import Link
from kmirror.model.mirror import Mirror, MirrorError
from kmirror.model.settings import LinkSettings
from kmirror.model.states import LIVE, RECORDED, Event, MirrorState
from kmirror.model.status import MirrorStatus, Throttle, Trouble
from kmirror.wire.cluster import Cluster

log = events(__name__)

_DRAIN_S: Final = 8.0
_GOODBYE_S: Final = 1.0
_EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_FEW: Final = 100
"""Mirrors that are looked at whenever it is asked how they stand."""
_TICK_S: Final = 0.05
_IDLE: Final = RECORDED - LIVE - {MirrorState.PAUSED, MirrorState.FAILED}
"""Over, or not yet set up: what begins after that begins anew."""


class LinkEngine:
    """`apply` tells what is wanted, `run` does it until `stop`; `mirrors` and the troubles are there to be shown.

    One of several that share a link's partitions copies those that it `owns`. All of them are one run: one of them has
    identity and tenure, and lends them to the others.
    """

    def __init__(
        self,
        link: Link,
        settings: LinkSettings,
        recorder: Recorder,
        counters: RunCounters | None = None,
        *,
        owns: Owns = owns_all,
        identity: Identity | None = None,
        tenure: Tenure | None = None,
    ) -> None:
        self._owns = owns
        self._counters = counters or RunCounters()
        self._settings = settings
        self._recorder = recorder
        self._finishing = 0
        self._merged_bytes = MERGED_BYTES if settings.coalesce else 0
        self.budget = Budget(settings.fetch_buffer_bytes)
        self.brake = Brake(settings.io_max_bytes_per_s, self._counters)
        self._source = Cluster(link.source, "source", link.source_cluster_id, self._counters.cluster("source"))
        self._destination = Cluster(
            link.destination,
            "destination",
            link.destination_cluster_id,
            self._counters.cluster("destination"),
        )
        self.identity = identity or OwnIdentity(self._destination, link.transactional_id)
        self.tenure = tenure or Tenure(self.identity, self._on_held, self._close_all)
        age = settings.metadata_max_age_s
        self.source_metadata = MetadataLoop(self._source, lambda: self._topics("source"), age, self._on_metadata)
        self.destination_metadata = MetadataLoop(
            self._destination, lambda: self._topics("destination"), age, self._on_metadata
        )
        self.mirrors: dict[str, MirrorCopy] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._shares = ThrottleShares(self._counters)
        self._paused = False
        self._stopping = asyncio.Event()
        self._fault: BaseException | None = None
        above = Above(
            mirrors=self.mirrors,
            held=lambda: self.tenure.held,
            start=self._start,
            fail=self._fail,
            source_stale=self.source_metadata.mark_stale,
            destination_stale=self.destination_metadata.mark_stale,
            doubt=lambda _: self.tenure.look(),
        )
        self._transactions = Transactions(self._destination, link.transactional_id)
        self._fence = Fence(self._destination, self.identity)
        self._questions = Questions(self._destination, "produce")
        sides = Sides(
            self._source,
            self._destination,
            Questions(self._source, "check"),
            self._questions,
            self.identity,
            self._transactions,
            self._fence,
        )
        self._flow = Flow(sides, settings, self.budget, recorder, above, brake=self.brake, gap_fill=link.gap_fill)

    # --- what is wanted

    def apply(self, mirrors: Mapping[str, Any], *, paused: bool = False) -> None:
        """Takes the mirrors of the link as they are wanted now (name to Mirror); of a paused link none is copied."""
        self._paused = paused
        for topic in self.mirrors.keys() - mirrors.keys():
            self.mirrors.pop(topic).halt()
        stale = False
        for topic, mirror in mirrors.items():
            found = self.mirrors.get(topic)
            before = (found.running, found.mirror.partitions) if found else None
            if found and _is_another(found.mirror, mirror):
                found.halt()  # over, and made anew: nothing of the old copy holds for it
                found = None
            if found is None:
                counters = self._counters.mirror(topic)
                found = MirrorCopy(mirror, self.budget, counters, merged_bytes=self._merged_bytes, owns=self._owns)
                self.mirrors[topic] = found
            else:
                found.update(mirror)
            self._reconcile(found)
            stale = stale or (found.running and (True, mirror.partitions) != before)
        if stale:  # not when mirrors end: a thousand that do would have all topics looked up a thousand times
            self._mark_stale()

    def _reconcile(self, mirror: MirrorCopy) -> None:
        wanted = mirror.mirror.state in LIVE and mirror.error is None and not mirror.ending and not self._paused
        stop = mirror.mirror.stop
        if mirror.mirror.state is MirrorState.PENDING_STOPPED and stop:
            wanted = wanted and stop.event is not Event.FAILOVER
            if not mirror.finishing:
                mirror.finishing = True
                self._finishing += 1
                self._start(self._finish(mirror))
        if wanted and not mirror.running:
            log.info("mirror is copied", topic=mirror.mirror.topic)
            mirror.running = True
        elif not wanted and mirror.running:
            why = MirrorState.LINK_PAUSED if self._paused else mirror.mirror.state
            log.info("mirror is halted", topic=mirror.mirror.topic, state=str(why))
            mirror.halt()
        for copy in mirror.partitions.values():
            self._flow.open_when_due(mirror, copy)

    def set_rate(self, bytes_per_s: int) -> None:
        """Takes another cluster.link.io.max.bytes.per.second."""
        self.brake.set_rate(bytes_per_s)

    def stop(self) -> None:
        """Lets `run` end: what is in flight is waited for, at most 8 s."""
        self._stopping.set()

    def pause_s(self) -> float:
        """As `Flow.pause_s`."""
        return self._flow.pause_s()

    # --- running

    async def run(self) -> None:
        """Until `stop`, or until a loop dies: then its exception is raised."""
        asyncio.get_running_loop().set_exception_handler(self._on_stray)
        loops = (self.source_metadata.run(), self.destination_metadata.run(), self.tenure.run())
        for loop in (*loops, renew_silent(self._destination, self.identity)):
            self._start(loop)
        try:
            await self._stopping.wait()
            for mirror in self.mirrors.values():
                mirror.halt()
            async with asyncio.timeout(_DRAIN_S):
                await self._all_drained()
            await self._say_goodbye()
        except TimeoutError:
            log.warning("stopping with batches in flight: the next run reads where the log ends")
        finally:
            for task in list(self._tasks):
                task.cancel()
            self.identity.close()
            self._source.close()
            self._destination.close()
        if self._fault:
            raise self._fault

    async def _all_drained(self) -> None:
        while not all(mirror.drained for mirror in self.mirrors.values()) and self._fault is None:  # noqa: ASYNC110
            await asyncio.sleep(_TICK_S)

    async def _say_goodbye(self) -> None:
        """A broker that does not answer any more forgets us by itself."""
        with contextlib.suppress(ClusterError, TimeoutError):
            async with asyncio.timeout(_GOODBYE_S):
                await self._flow.end_sessions()

    def _start(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._on_done)
        return task

    def _on_done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self._die(task.exception())

    def _on_stray(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if isinstance(error, ClusterError):  # an answer that nobody waits for any more
            log.debug("answer dropped", error=str(error))
            return
        if isinstance(error, OSError) and error.errno in _EXHAUSTED:  # who asked waits; asyncio tries again in a second
            log.warning("a connection to the control socket can't be taken", error=str(error))
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
                self._flow.open_when_due(mirror, copy)
                if copy.is_open:
                    self._flow.start_fetching(copy)

    def _look_at_topics(self, mirror: MirrorCopy) -> None:
        if not mirror.running:
            return
        source = self._source.topics.get(mirror.mirror.source_topic)
        destination = self._destination.topics.get(mirror.mirror.topic)
        if not self._source.topics or not self._destination.topics:
            return  # not read yet
        fault = mirror.topic_fault(source, destination, self._settings.retry_timeout_s)
        if fault:
            self._fail(mirror, fault)
        elif mirror.suspected:
            asyncio.get_running_loop().call_later(1.0, self._mark_stale)
        elif source and len(source.leaders) > mirror.mirror.partitions and not mirror.growing:
            self._begin_to_grow(mirror, len(source.leaders))

    def _mark_stale(self) -> None:
        self.source_metadata.mark_stale()
        self.destination_metadata.mark_stale()

    def _begin_to_grow(self, mirror: MirrorCopy, partitions: int) -> None:
        mirror.growing = True
        self._start(self._grow(mirror, partitions))

    async def _grow(self, mirror: MirrorCopy, partitions: int) -> None:
        topic = mirror.mirror.topic
        log.info("the source has more partitions", topic=topic, partitions=partitions)
        await self._insist(mirror, lambda: self._recorder.grow(topic, partitions))
        mirror.growing = False

    # --- endings

    def _fail(self, mirror: MirrorCopy, error: MirrorError) -> None:
        if mirror.error is not None:
            return
        mirror.error = error
        log.error(
            "mirror FAILED",
            topic=mirror.mirror.topic,
            partition=error.partition,
            offset=error.offset,
            code=error.code,
            error=error.message,
        )
        mirror.halt()
        topic = mirror.mirror.topic
        self._start(self._insist(mirror, lambda: self._recorder.failed(topic, error)))

    async def _finish(self, mirror: MirrorCopy) -> None:
        """Ends a promote once its targets are reached, a failover at once."""
        while self._is_current(mirror) and mirror.mirror.state is MirrorState.PENDING_STOPPED:
            if mirror.ending or self._may_end(mirror):
                mirror.ending = True
                if mirror.running:
                    mirror.halt()
                if mirror.drained:
                    await self._settle(mirror)
                    if self._is_current(mirror):
                        await self._release(mirror)
                    break
            elif mirror.error and not mirror.is_failover:
                break
            # Of a thousand that end at once, each looks a little less often.
            await asyncio.sleep(max(_TICK_S, self._finishing / 1000))
        self._finishing -= 1
        mirror.finishing = False

    def _is_current(self, mirror: MirrorCopy) -> bool:
        """It is not over, with another one of its name begun."""
        return self.mirrors.get(mirror.mirror.topic) is mirror

    def _may_end(self, mirror: MirrorCopy) -> bool:
        return mirror.is_failover or (mirror.running and mirror.at_targets)

    async def _release(self, mirror: MirrorCopy) -> None:
        topic = mirror.mirror.topic
        await self._insist(mirror, lambda: self._recorder.stopped(topic))
        log.info("mirror is stopped", topic=topic)

    async def _settle(self, mirror: MirrorCopy) -> None:
        """Nothing of ours, nor of a run before, lands any more in a topic that becomes somebody else's."""
        for copy in list(mirror.partitions.values()):  # to those that are added meanwhile nothing was ever sent
            while True:
                try:
                    await self._transactions.settle(copy)
                    await self._fence.settle(copy)
                    if copy.in_doubt:
                        await settle(copy, self._questions)
                    break
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
                mirror.trouble = Trouble(with_remedy(e), since, getattr(e, "code", "INTERNAL_ERROR"))
                log.warning("not done yet", topic=mirror.mirror.topic, error=e.message)
                await asyncio.sleep(backoff.next())
            else:
                mirror.trouble = None
                return

    def status(self, *, of_late: bool = False) -> dict[str, MirrorStatus]:
        """Each mirror as it stands; called every few seconds, for the rates.

        `of_late`: those of many mirrors in which nothing happens may be some seconds old.
        """
        out = {}
        spare = of_late and len(self.mirrors) > _FEW
        for topic, mirror in self.mirrors.items():
            mirror.sample()
            stands = mirror.status_of_late if spare else mirror.status
            found = stands(self.destination_metadata.trouble)
            waits = self._paused and mirror.mirror.state is MirrorState.ACTIVE and not mirror.error
            out[topic] = replace(found, state=MirrorState.LINK_PAUSED) if waits else found
        return out

    async def look(self) -> None:
        """Returns once `status` tells how it stands now, and not a moment ago."""

    @property
    def seen_ms(self) -> int:
        """As of when `status` tells how each partition stands."""
        return now_ms()

    def other_pids(self) -> list[int]:
        """Of the processes that copy for this one."""
        return []

    def stuck(self) -> list[str]:
        """What does not turn any more beside this event loop, in lines."""
        return []

    def buffer(self) -> tuple[int, int]:
        """(bytes fetched, or asked for, and not yet acknowledged; how many may be)."""
        return self.budget.held, self.budget.limit

    def throttled(self) -> dict[Throttle, float]:
        """What has the link wait, and for which part of the time; called every few seconds."""
        return self._shares.look()


def _is_another(before: Mirror, now: Mirror) -> bool:
    """Whether a mirror of the same name is not the one that was copied so far: other topics, or alive again."""
    ids = (before.source_topic_id, before.destination_topic_id)
    revived = before.state in _IDLE and now.state is not before.state
    return revived or ids != (now.source_topic_id, now.destination_topic_id)
