"""A worker's engine without clusters: what it makes of its lead's words, and what it says."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from kmirror.engine.identity import Superseded
from kmirror.model.ledger import LostGap
from kmirror.model.link import GapFill, Link
from kmirror.model.mirror import Mirror, MirrorError, StopRequest
from kmirror.model.settings import settings_from
from kmirror.model.states import Event, MirrorState
from kmirror.process import worker as module
from kmirror.process.lent import Lead
from kmirror.process.shares import owner_of, share_of
from kmirror.process.worker import WorkerEngine
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
    Look,
    Lost,
    Refusal,
    Renew,
    Seen,
    TakeOffsets,
    Wanted,
)

TOPIC_ID = "AAAAAAAAAAAAAAAAAAAAAQ"
CONFIGS = {"bootstrap.servers": "a:1", "destination.bootstrap.servers": "b:1"}
LINK = Link("l", "id", "E", "W", CONFIGS, GapFill.MARKERS, 1)
MIRROR = Mirror("t", "s", TOPIC_ID, TOPIC_ID, 6, MirrorState.ACTIVE, 1)
HELD = Hold(7, 3, 2, is_first=False, held=True)
FAULT = MirrorError("CORRUPT_BATCH", "damaged", 1, 5)


class Played:
    """The channel to a lead that only listens; `answers` by the kind of question."""

    def __init__(self) -> None:
        self.sent: list[Any] = []
        self.answers: dict[type, Answer] = {}

    def send(self, message: object) -> None:
        self.sent.append(message)
        if isinstance(message, Ask):
            answer = replace(self.answers[type(message.what)], number=message.number)
            asyncio.get_running_loop().call_soon(self.engine._take, answer)

    def last(self, kind: type) -> Any:
        return next(message for message in reversed(self.sent) if isinstance(message, kind))


def played(act: Callable[[WorkerEngine, Played], Awaitable[None]]) -> None:
    async def run() -> None:
        channel = Played()
        begin = Begin(LINK, share_of(settings_from(CONFIGS), 2), 1, 2)
        engine = channel.engine = WorkerEngine(begin, Lead(channel))  # type: ignore[arg-type, attr-defined]
        engine._take(Wanted(4, {"t": MIRROR}, frozenset(), paused=False))
        await act(engine, channel)
        for task in list(engine._tasks):
            task.cancel()

    asyncio.run(run())


def test_it_copies_its_own_partitions_alone() -> None:
    async def act(engine: WorkerEngine, _: Played) -> None:
        own = {partition for partition in range(6) if owner_of("t", partition, 2) == 1}
        assert set(engine.mirrors["t"].partitions) == own
        engine._take(Wanted(5, {"t": replace(MIRROR, partitions=60)}, frozenset(), paused=False))
        assert len(engine.mirrors["t"].partitions) == 30
        engine._take(Wanted(6, {}, frozenset({"t"}), paused=False))
        assert engine.mirrors == {}

    played(act)


def test_what_the_lead_holds_it_holds() -> None:
    """Lost, or with another producer id, each partition has to be opened anew."""

    async def act(engine: WorkerEngine, _: Played) -> None:
        copy = next(iter(engine.mirrors["t"].partitions.values()))

        def closings(hold: Hold) -> int:
            before = copy.generation
            engine._take(hold)
            return copy.generation - before

        assert closings(HELD) == 0
        assert engine.tenure.held
        assert (engine.identity.producer_id, engine.identity.run_token, engine.identity.held_since) == (7, 3, 2)
        assert closings(replace(HELD, run_token=4)) == 0
        assert engine.identity.run_token == 4
        assert closings(replace(HELD, producer_id=8)) == 1
        assert closings(replace(HELD, producer_id=8, held=False)) == 1
        assert not engine.tenure.held
        engine._take(Look(replace(HELD, producer_id=8)))
        assert engine.tenure.held

    played(act)


def test_it_tells_of_what_it_finds_and_records_nothing() -> None:
    async def act(engine: WorkerEngine, lead: Played) -> None:
        engine._take(Look(HELD))
        assert set(lead.last(Seen).mirrors) == {"t"}
        mirror = engine.mirrors["t"]
        engine._begin_to_grow(mirror, 9)
        engine._fail(mirror, FAULT)
        engine._fail(mirror, replace(FAULT, offset=6))
        assert [m for m in lead.sent if isinstance(m, Failed)] == [Failed(4, "t", FAULT)]
        assert not mirror.running
        engine.tenure.look()
        assert lead.last(Doubt) == Doubt()
        engine._take(IoLimit(500))
        assert engine.brake._rate == 500

    played(act)


def test_the_end_of_its_part_is_told_with_what_it_knew_by_then() -> None:
    """Once for each change while the mirror is to be stopped, and it is settled but once."""

    async def act(engine: WorkerEngine, lead: Played) -> None:
        settled: list[str] = []

        async def settle(copy: Any) -> None:
            settled.append(copy.name)

        engine._transactions.settle = engine._fence.settle = settle  # type: ignore[method-assign]
        stop = StopRequest(Event.FAILOVER)
        stopping = replace(MIRROR, state=MirrorState.PENDING_STOPPED, stop=stop)
        for version in (5, 6):
            engine._take(Wanted(version, {"t": replace(stopping, status_time_ms=version)}, frozenset(), paused=False))
            await asyncio.sleep(0.2)
            assert lead.last(Ended) == Ended(version, "t")
        assert len(settled) == 2 * 3
        assert not engine.mirrors["t"].running

    played(act)


def test_a_topic_that_grows_while_its_mirror_ends() -> None:
    """Nothing of ours was ever sent to what is added: it need not be settled, and the others are."""

    async def act(engine: WorkerEngine, lead: Played) -> None:
        settled: list[int] = []
        stopping = replace(MIRROR, state=MirrorState.PENDING_STOPPED, stop=StopRequest(Event.FAILOVER))

        async def settle(copy: Any) -> None:
            settled.append(copy.partition)
            engine._take(Wanted(6, {"t": replace(stopping, partitions=60)}, frozenset(), paused=False))

        async def nothing(_: Any) -> None: ...

        engine._transactions.settle, engine._fence.settle = settle, nothing  # type: ignore[method-assign]
        own = list(engine.mirrors["t"].partitions)
        engine._take(Wanted(5, {"t": stopping}, frozenset(), paused=False))
        await asyncio.sleep(0.2)
        assert settled == own
        assert lead.last(Ended) == Ended(6, "t")
        assert engine._fault is None

    played(act)


def test_what_is_asked_of_the_lead() -> None:
    async def act(engine: WorkerEngine, lead: Played) -> None:
        lead.answers = {
            Lease: Answer(0, HELD, 12.5),
            Renew: Answer(0, replace(HELD, run_token=9)),
            TakeOffsets: Answer(0, HELD, {("t", 1): 0}),
            Lost: Answer(0, HELD),
        }
        assert await engine.identity.lease() == 12.5
        await engine.identity.renew(3)
        assert engine.identity.run_token == 9, "before it goes on"
        assert await engine.identity.take_offsets(9, [("t", 1)]) == {("t", 1): 0}
        gap = LostGap("t", 1, 5, 2, 1, "lost")
        await engine._recorder.lost("t", gap)
        assert lead.last(Ask).what == Lost(gap)
        lead.answers[Lease] = Answer(0, replace(HELD, held=False), refusal=Refusal.of(Superseded("another has it")))
        with pytest.raises(Superseded, match="another has it"):
            await engine.identity.lease()
        assert not engine.tenure.held

    played(act)


def test_without_a_word_of_its_lead_it_holds_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async def act(engine: WorkerEngine, _: Played) -> None:
        monkeypatch.setattr(module, "_WATCH_S", 0.01)
        monkeypatch.setattr(module, "_SILENT_S", 0.05)
        engine._heard_s = asyncio.get_running_loop().time()
        engine._take(HELD)
        engine._start(engine._watch())
        for _ in range(500):
            await asyncio.sleep(0.01)
            if not engine.tenure.held:
                break
        assert not engine.tenure.held
        engine._heard_s = asyncio.get_running_loop().time() + 60
        engine._take(Look(HELD))
        await asyncio.sleep(0.05)
        assert engine.tenure.held

    played(act)
