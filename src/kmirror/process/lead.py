"""A link on several cores: the runner is the lead of some workers, each of which copies a share of its partitions.

The lead is the one run of the link: it has the lock, producer id, run token and lease, and does what is there once
(metadata of topics, growth, failures, endings, tasks, status). It copies nothing. If a worker ends that nobody told to,
the run ends, and the next one goes on where the logs end.
"""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from kmirror.engine.copy import now_ms
from kmirror.engine.counters import RunCounters
from kmirror.engine.link import LinkEngine
from kmirror.engine.mirror_copy import MirrorCopy
from kmirror.engine.recorder import Recorder
from kmirror.errors import ClusterError, KmirrorError
from kmirror.log import events
from kmirror.model.link import Link
from kmirror.model.mirror import Mirror
from kmirror.model.settings import LinkSettings
from kmirror.model.states import MirrorState
from kmirror.model.status import MirrorStatus
from kmirror.process.crew import Worker, WorkerLost
from kmirror.process.shares import io_limits, joined, share_of
from kmirror.process.worker_messages import (
    Answer,
    Ask,
    Begin,
    Doubt,
    Ended,
    Failed,
    Hold,
    IoLimit,
    Lease,
    Logged,
    Lost,
    Question,
    Refusal,
    Renew,
    Seen,
    Stop,
    TakeOffsets,
    Wanted,
)
from kmirror.wire.topics import Place

log = events(__name__)

_LOOK_S: Final = 1.0  # shorter than who asks the control socket waits
_WORTH_TELLING: Final = 0.05
_STUCK_MS: Final = 30_000


@dataclass(slots=True)
class _Known:
    """Of one mirror: since which version of what is wanted it is this one, and is to be stopped; whose parts are."""

    born: int
    stopping: int | None = None
    ended: set[int] = field(default_factory=set)


class LeadEngine(LinkEngine):
    """A LinkEngine whose mirrors have no partitions of their own: the workers have them."""

    def __init__(
        self, link: Link, settings: LinkSettings, recorder: Recorder, counters: RunCounters, *, workers: int
    ) -> None:
        super().__init__(link, settings, recorder, counters, owns=lambda _topic, _partition: False)
        self._link = replace(link, mirrors={})  # they come with what is wanted
        self._workers = [Worker(number) for number in range(workers)]
        self._listening: list[asyncio.Task[None]] = []
        self._io_rate = settings.io_max_bytes_per_s
        self._version = 0
        self._told: dict[str, Mirror] = {}
        self._known: dict[str, _Known] = {}

    # --- what is wanted

    def apply(self, mirrors: Mapping[str, Mirror], *, paused: bool = False) -> None:
        changed = {topic: mirror for topic, mirror in mirrors.items() if self._told.get(topic) != mirror}
        gone = frozenset(self._told.keys() - mirrors.keys())
        self._version += 1
        before = dict(self.mirrors)
        super().apply(mirrors, paused=paused)
        for topic in gone:
            self._known.pop(topic, None)
        for topic in changed:
            self._note(topic, is_new=before.get(topic) is not self.mirrors[topic])
        self._told = dict(mirrors)
        self._send(self._wanted(changed, gone))

    def _note(self, topic: str, *, is_new: bool) -> None:
        if is_new:
            self._known[topic] = _Known(self._version)
        known = self._known[topic]
        if self.mirrors[topic].mirror.state is not MirrorState.PENDING_STOPPED:
            known.stopping = None
            known.ended.clear()
        elif known.stopping is None:
            known.stopping = self._version

    def _wanted(self, changed: Mapping[str, Mirror], gone: frozenset[str]) -> Wanted:
        return Wanted(self._version, dict(changed), gone, self._paused)

    def set_rate(self, bytes_per_s: int) -> None:
        self._io_rate = bytes_per_s
        self._divide_rate(worth_telling=0.0)

    def _divide_rate(self, worth_telling: float) -> None:
        """Tells each worker its part, where it has changed by more than `worth_telling` of it."""
        limits = io_limits(self._io_rate, [worker.pace for worker in self._workers])
        for worker, limit in zip(self._workers, limits, strict=True):
            if abs(limit - worker.io_limit) > worth_telling * worker.io_limit:
                worker.io_limit = limit
                worker.send(IoLimit(limit))

    def _send(self, message: object) -> None:
        for worker in self._workers:
            worker.send(message)

    # --- running

    async def run(self) -> None:
        """As LinkEngine's; raises WorkerLost when one has ended. When it returns, all have."""
        try:
            for worker in self._workers:
                await self._begin(worker)
            await super().run()
        finally:
            await asyncio.gather(*(worker.end() for worker in self._workers))

    async def _begin(self, worker: Worker) -> None:
        await worker.start()
        count = len(self._workers)
        share = share_of(replace(self._settings, io_max_bytes_per_s=self._io_rate), count)
        worker.io_limit = share.io_max_bytes_per_s
        worker.send(Begin(self._link, share, worker.number, count))
        worker.send(self._wanted(self._told, frozenset()))
        worker.send(self._hold())
        log.info("worker begins", worker=worker.number, pid=worker.pid)
        self._listening.append(self._start(self._listen(worker)))

    async def _all_drained(self) -> None:
        """They end by themselves, once what is in flight has landed."""
        if self._fault is None and self._listening:
            self._send(Stop())
            await asyncio.wait(self._listening)  # until each has said its last word

    async def _listen(self, worker: Worker) -> None:
        while (message := await worker.receive()) is not None:
            self._take(worker, message)
        if not self._stopping.is_set():
            how = await worker.how_it_ended()
            raise WorkerLost(f"worker {worker.number} has ended: {how}")

    def _take(self, worker: Worker, message: Any) -> None:
        match message:
            case Seen():
                before = worker.take(message)
                self._counters.add(message.counters, before.counters if before else None)
            case Ask():
                self._start(self._answer(worker, message))
            case Doubt():
                self.tenure.look()
            case Failed():
                known = self._known.get(message.topic)
                if known and message.version >= known.born:
                    self._fail(self.mirrors[message.topic], message.error)
            case Ended():
                known = self._known.get(message.topic)
                if known and known.stopping is not None and message.version >= known.stopping:
                    known.ended.add(worker.number)
            case Logged():
                record = logging.makeLogRecord(message.record)
                record.__dict__["facts"] = {"worker": worker.number, **record.__dict__["facts"]}
                logging.getLogger(record.name).handle(record)

    # --- what is there once, and lent

    async def _answer(self, worker: Worker, ask: Ask) -> None:
        try:
            value = await self._do(ask.what)
        except KmirrorError as e:
            worker.send(Answer(ask.number, self._hold(), refusal=Refusal.of(e)))
        else:
            worker.send(Answer(ask.number, self._hold(), value))

    async def _do(self, what: Question) -> float | dict[Place, int] | None:
        match what:
            case Lease():
                return await self.identity.lease()
            case Renew():
                if not self.tenure.held:
                    raise ClusterError("the link is not held")  # nor may it be taken before its time
                self._on_held(await self.identity.renew(what.token))
            case TakeOffsets():
                return await self.identity.take_offsets(what.token, what.places)
            case Lost():
                await self._recorder.lost(what.gap.topic, what.gap)
        return None

    def _hold(self) -> Hold:
        mine = self.identity
        return Hold(mine.producer_id, mine.run_token, mine.held_since, mine.is_first, held=self.tenure.held)

    def _on_held(self, changed: bool) -> None:
        super()._on_held(changed)
        self._send(self._hold())

    def _close_all(self) -> None:
        super()._close_all()
        self._send(self._hold())

    # --- endings

    def _may_end(self, mirror: MirrorCopy) -> bool:
        """Each worker has ended its part: from then on nothing lands in any of its partitions."""
        known = self._known.get(mirror.mirror.topic)
        return known is not None and len(known.ended) == len(self._workers)

    # --- how it stands

    async def look(self) -> None:
        looks = [worker.look(self._hold()) for worker in self._workers]
        await asyncio.wait(looks, timeout=_LOOK_S)
        self._divide_rate(_WORTH_TELLING)

    @property
    def seen_ms(self) -> int:
        return min(worker.seen_ms for worker in self._workers)

    def other_pids(self) -> list[int]:
        return [worker.pid for worker in self._workers if worker.pid]

    def stuck(self) -> list[str]:
        silent = {w.number: now_ms() - w.seen_ms for w in self._workers}
        return [f"worker {n} is silent for {ms // 1000} s" for n, ms in silent.items() if ms > _STUCK_MS]

    def buffer(self) -> tuple[int, int]:
        return sum(worker.seen.buffer_held for worker in self._workers if worker.seen), self.budget.limit

    def status(self, *, of_late: bool = False) -> dict[str, MirrorStatus]:
        told = [worker.seen.mirrors for worker in self._workers if worker.seen]
        return {
            topic: joined(own, self._told[topic].partitions, [mirrors[topic] for mirrors in told if topic in mirrors])
            for topic, own in super().status(of_late=of_late).items()
        }
