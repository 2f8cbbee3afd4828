"""What a lead makes of its workers' words, without workers; and the way of words between them."""

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from kmirror.engine.counters import RunCounters
from kmirror.engine.identity import Renewed, Superseded
from kmirror.errors import AuthorizationFailed, ClusterError, KmirrorError, StateError
from kmirror.model.ledger import LostGap
from kmirror.model.link import GapFill, Link
from kmirror.model.mirror import Mirror, MirrorError, StopRequest
from kmirror.model.settings import settings_from
from kmirror.model.states import Event, MirrorState
from kmirror.model.status import MirrorStatus, PartitionState, PartitionStatus
from kmirror.process.channel import Channel
from kmirror.process.lead import LeadEngine
from kmirror.process.worker_messages import (
    Answer,
    Ask,
    Ended,
    Failed,
    Hold,
    IoLimit,
    Lease,
    Logged,
    Lost,
    Refusal,
    Renew,
    Seen,
    TakeOffsets,
    Wanted,
)
from kmirror.wire.errors import BrokerError

TOPIC_ID = "AAAAAAAAAAAAAAAAAAAAAQ"
OTHER_ID = "AAAAAAAAAAAAAAAAAAAAAg"
CONFIGS = {"bootstrap.servers": "a:1", "destination.bootstrap.servers": "b:1"}
LINK = Link("l", "id", "E", "W", CONFIGS, GapFill.MARKERS, 1)
GAP = LostGap("t", 0, 5, 2, 1, "lost")
FAULT = MirrorError("CORRUPT_BATCH", "damaged", 1, 5)


class Recorder:
    """Notes what the lead has recorded."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []

    async def failed(self, topic: str, error: MirrorError) -> None:
        self.told.append(("failed", topic, error))

    async def stopped(self, topic: str) -> None:
        self.told.append(("stopped", topic))

    async def lost(self, topic: str, gap: LostGap) -> None:
        self.told.append(("lost", topic, gap))

    async def grow(self, topic: str, partitions: int) -> None:
        self.told.append(("grow", topic, partitions))


class Lead(LeadEngine):
    """Of two workers that are not there; what would be sent to each is kept."""

    def __init__(self) -> None:
        self.recorder = Recorder()
        super().__init__(LINK, settings_from(CONFIGS), self.recorder, RunCounters(), workers=2)
        self.sent: list[Any] = []
        for worker in self._workers:
            worker.send = self.sent.append  # type: ignore[method-assign]

    def hears(self, number: int, message: object) -> None:
        self._take(self._workers[number], message)

    def last(self, kind: type) -> Any:
        return next(message for message in reversed(self.sent) if isinstance(message, kind))

    @property
    def version(self) -> int:
        return self.last(Wanted).version

    async def settled(self) -> list[tuple[Any, ...]]:
        """What was recorded, once all is done that can be; a mirror that is to end is looked at again and again."""
        await asyncio.sleep(0.2)
        return self.recorder.told


def played(act: Callable[[Lead], Awaitable[None]]) -> None:
    async def run() -> None:
        lead = Lead()
        await act(lead)
        for task in list(lead._tasks):
            task.cancel()

    asyncio.run(run())


def mirror(state: MirrorState = MirrorState.ACTIVE, topic_id: str = TOPIC_ID) -> Mirror:
    stop = StopRequest(Event.PROMOTE, (5, 5)) if state is MirrorState.PENDING_STOPPED else None
    return Mirror("t", "s", topic_id, topic_id, 2, state, 1, stop=stop)


STOPPING = mirror(MirrorState.PENDING_STOPPED)


def test_a_mirror_is_over_when_all_its_parts_are() -> None:
    async def act(lead: Lead) -> None:
        lead.apply({"t": mirror()})
        lead.apply({"t": STOPPING})
        lead.hears(0, Ended(lead.version, "t"))
        lead.hears(0, Ended(lead.version, "t"))
        assert await lead.settled() == []
        lead.hears(1, Ended(lead.version, "t"))
        assert await lead.settled() == [("stopped", "t")]

    played(act)


def test_a_failover_waits_for_all_parts_too() -> None:
    async def act(lead: Lead) -> None:
        lead.apply({"t": replace(STOPPING, stop=StopRequest(Event.FAILOVER))})
        lead.hears(0, Ended(lead.version, "t"))
        assert await lead.settled() == []
        lead.hears(1, Ended(lead.version, "t"))
        assert await lead.settled() == [("stopped", "t")]

    played(act)


@pytest.mark.parametrize(
    "between",
    [
        [{"t": mirror(MirrorState.FAILED)}],
        [{}],
        [{"t": mirror(MirrorState.STOPPED)}, {"t": mirror()}],
        [{"t": mirror(topic_id=OTHER_ID)}],
    ],
    ids=["failed", "gone", "alive again", "made anew"],
)
def test_a_word_of_another_time_does_not_count(between: list[dict[str, Mirror]]) -> None:
    """A worker's part has ended, then the mirror is something else, and then it is to be stopped again."""

    async def act(lead: Lead) -> None:
        lead.apply({"t": mirror()})
        lead.apply({"t": STOPPING})
        early = lead.version
        lead.hears(0, Ended(early, "t"))
        for wanted in between:
            lead.apply(wanted)
        ids = {m.destination_topic_id for wanted in between for m in wanted.values()} or {TOPIC_ID}
        lead.apply({"t": replace(STOPPING, destination_topic_id=max(ids), source_topic_id=max(ids))})
        lead.hears(0, Ended(early, "t"))  # late
        lead.hears(1, Ended(lead.version, "t"))
        assert await lead.settled() == []
        assert lead._finishing == 1, "nobody looks at the mirror of before any more"
        lead.hears(0, Ended(lead.version, "t"))
        assert await lead.settled() == [("stopped", "t")]

    played(act)


def test_a_failure_is_recorded_once_and_only_of_the_mirror_that_it_is_of() -> None:
    async def act(lead: Lead) -> None:
        lead.apply({"t": mirror()})
        early = lead.version
        lead.apply({"t": mirror(topic_id=OTHER_ID)})
        lead.hears(0, Failed(early, "t", FAULT))
        lead.hears(0, Failed(early, "another", FAULT))
        assert await lead.settled() == []
        lead.hears(0, Failed(lead.version, "t", FAULT))
        lead.hears(1, Failed(lead.version, "t", replace(FAULT, partition=0)))
        assert await lead.settled() == [("failed", "t", FAULT)]

    played(act)


def test_only_what_has_changed_is_sent() -> None:
    async def act(lead: Lead) -> None:
        lead.apply({"t": mirror(), "u": replace(mirror(), topic="u")})
        assert set(lead.last(Wanted).changed) == {"t", "u"}
        lead.apply({"t": mirror(MirrorState.PAUSED), "u": replace(mirror(), topic="u")})
        assert set(lead.last(Wanted).changed) == {"t"}
        lead.apply({"t": mirror(MirrorState.PAUSED)}, paused=True)
        last = lead.last(Wanted)
        assert (set(last.changed), last.gone, last.paused) == (set(), {"u"}, True)

    played(act)


def test_a_lease_is_the_leads() -> None:
    """It holds from when the lead asked, whenever the answer comes; refused, it is refused as the same error."""

    async def act(lead: Lead) -> None:
        answers: list[float | KmirrorError] = [12.5, Superseded("another has it")]

        async def lease() -> float:
            answer = answers.pop(0)
            if isinstance(answer, KmirrorError):
                raise answer
            return answer

        lead.identity.lease = lease  # type: ignore[method-assign]
        lead.identity.producer_id, lead.identity.run_token = 77, 3
        lead.hears(1, Ask(5, Lease()))
        await lead.settled()
        answer = lead.last(Answer)
        assert (answer.number, answer.value, answer.hold.run_token) == (5, 12.5, 3)
        lead.hears(1, Ask(6, Lease()))
        await lead.settled()
        assert lead.last(Answer).value is None
        assert isinstance(lead.last(Answer).refusal.error(), Superseded)

    played(act)


def test_a_new_token_is_told_to_all_and_not_taken_while_the_link_is_not_held() -> None:
    async def act(lead: Lead) -> None:
        taken: list[int | None] = []

        async def renew(token: int | None = None) -> bool:
            taken.append(token)
            lead.identity.run_token = 4
            return True

        lead.identity.renew = renew  # type: ignore[method-assign]
        lead.hears(0, Ask(1, Renew(3)))
        await lead.settled()
        assert (taken, lead.last(Answer).refusal.message) == ([], "the link is not held")
        lead.tenure.held = True
        lead.hears(0, Ask(2, Renew(3)))
        await lead.settled()
        assert taken == [3]
        assert lead.last(Hold) == Hold(None, 4, None, is_first=False, held=True)

    played(act)


def test_a_transaction_of_the_link_itself_is_the_leads() -> None:
    async def act(lead: Lead) -> None:
        asked: list[tuple[int, Any]] = []

        async def take_offsets(token: int, places: Any) -> dict[tuple[str, int], int]:
            asked.append((token, places))
            if token != 3:
                raise Renewed("3 by now")
            return dict.fromkeys(places, 0)

        lead.identity.take_offsets = take_offsets  # type: ignore[method-assign]
        lead.hears(0, Ask(1, TakeOffsets(3, [("t", 0)])))
        await lead.settled()
        assert (lead.last(Answer).value, asked) == ({("t", 0): 0}, [(3, [("t", 0)])])
        lead.hears(0, Ask(2, TakeOffsets(2, [("t", 0)])))
        await lead.settled()
        assert isinstance(lead.last(Answer).refusal.error(), Renewed)

    played(act)


def test_the_ledger_is_written_before_the_answer() -> None:
    async def act(lead: Lead) -> None:
        lead.hears(0, Ask(1, Lost(GAP)))
        assert await lead.settled() == [("lost", "t", GAP)]
        assert lead.last(Answer).refusal is None

    played(act)


def test_what_workers_tell_is_one_status() -> None:
    async def act(lead: Lead) -> None:
        lead.apply({"t": mirror()})
        assert [p.state for p in lead.status()["t"].partitions] == [PartitionState.OPENING] * 2
        for number in range(2):
            counters = RunCounters()
            counters.mirror("t").records = 10 + number
            part = PartitionStatus(number, PartitionState.COPYING, 10, 10)
            seen = Seen({"t": MirrorStatus("t", MirrorState.ACTIVE, (part,))}, counters, 1000)
            lead.hears(number, seen)
        assert lead.status()["t"].lag == 0
        assert lead._counters.mirror("t").records == 21
        assert lead.buffer() == (2000, settings_from(CONFIGS).fetch_buffer_bytes)

    played(act)


def test_a_limit_goes_to_who_is_held_up_by_it() -> None:
    async def act(lead: Lead) -> None:
        lead.set_rate(1000)
        assert [worker.io_limit for worker in lead._workers] == [500, 500]
        for bytes_, braked_s in ((0, 0.0), (10**6, 1000.0)):
            for number in range(2):
                counters = RunCounters(braked_s=braked_s * (number == 0))
                counters.mirror("t").bytes = bytes_ * (number == 0)
                lead.hears(number, Seen({}, counters, 0))
        await lead.look()
        assert [worker.io_limit for worker in lead._workers] == [950, 50]
        assert lead.last(IoLimit).bytes_per_s == 50

    played(act)


def test_a_worker_that_is_silent_is_stuck() -> None:
    async def act(lead: Lead) -> None:
        assert lead.stuck() == []
        lead._workers[1].seen_ms -= 31_000
        assert lead.stuck() == ["worker 1 is silent for 31 s"]
        assert lead.seen_ms == lead._workers[1].seen_ms

    played(act)


def test_a_workers_lines_are_the_runners(caplog: pytest.LogCaptureFixture) -> None:
    async def act(lead: Lead) -> None:
        record = {"name": "kmirror.x", "levelno": logging.WARNING, "levelname": "WARNING", "msg": "batch refused"}
        lead.hears(1, Logged({**record, "created": 1.0, "facts": {"topic": "t"}}))

    played(act)
    (line,) = [record for record in caplog.records if record.name == "kmirror.x"]
    assert (line.getMessage(), line.facts) == ("batch refused", {"worker": 1, "topic": "t"})  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "error",
    [
        Superseded("s", hint="h"),
        AuthorizationFailed("a", hint="h", code="AUTHORIZATION_ERROR"),
        ClusterError("c", code="LINK_ERROR"),
        StateError("disk", hint="free some"),
    ],
)
def test_an_error_stays_of_its_kind(error: KmirrorError) -> None:
    again = Refusal.of(error).error()
    wanted = type(error) if isinstance(error, ClusterError) else KmirrorError
    assert (type(again), again.message, again.hint) == (wanted, error.message, error.hint)
    assert getattr(again, "code", None) == getattr(error, "code", None)


def test_a_brokers_error_can_be_sent_too() -> None:
    again = Refusal.of(BrokerError(11, "Fetch")).error()
    assert (type(again), again.message) == (ClusterError, BrokerError(11, "Fetch").message)


def test_messages_keep_their_order_and_an_end_is_told() -> None:
    async def run() -> None:
        one, other = socket.socketpair()
        ours, theirs = await Channel.over(one), await Channel.over(other)
        sent = [Ended(n, "t" * n * 1000) for n in range(300)]
        for message in sent:
            ours.send(message)
        closing = asyncio.ensure_future(ours.close())
        assert [await theirs.receive() for _ in sent] == sent
        assert await theirs.receive() is None
        await closing
        ours.send(sent[0])  # nobody hears it
        await theirs.close()

    asyncio.run(run())
