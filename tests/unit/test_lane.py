"""What a lane asks of its broker, and what it takes an answer to mean for the partitions that it leaves out."""

import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from kmirror.engine import copy as copy_module
from kmirror.engine import lane as lane_module
from kmirror.engine.budget import Budget
from kmirror.engine.copy import PartitionCopy
from kmirror.engine.lane import Lane
from kmirror.engine.mirror_copy import MirrorCopy
from kmirror.engine.steps import Append, Fill, Gap
from kmirror.model.mirror import Mirror
from kmirror.model.states import MirrorState
from kmirror.wire.connection import Connection
from kmirror.wire.errors import ProtocolError
from kmirror.wire.fetch import BY_ID, BY_NAME, Fetched, FetchPartition

ROOM = 1000
IDS = ("AAAAAAAAAAAAAAAAAAAAAA", "BBBBBBBBBBBBBBBBBBBBBA")


def mirror(topic: str = "t", partitions: int = 3) -> MirrorCopy:
    record = Mirror(
        topic=topic,
        source_topic=topic,
        source_topic_id=IDS[0],
        destination_topic_id=IDS[1],
        partitions=partitions,
        state=MirrorState.ACTIVE,
        status_time_ms=1,
    )
    made = MirrorCopy(record, Budget(10_000))
    for copy in made.partitions.values():
        copy.opened(0, 5, None, 0)
    return made


class Asking:
    """A lane with its moves, and a broker that takes every request and gives one session."""

    def __init__(self, ours: Callable[[PartitionCopy], bool] = lambda _: True) -> None:
        self.moved: list[PartitionCopy] = []
        self.lane = Lane(ours, self.moved.append)
        self.connect()

    def connect(self, version: int = BY_ID) -> None:
        self.lane.use(cast("Connection", SimpleNamespace(name="broker 1")), version)

    def look(self, most: int = 100, each: int = 50) -> None:
        self.lane.look(most=most, room_bytes=ROOM, each=lambda _: (each, 2 * each))

    def ask(self) -> tuple[bool, list[FetchPartition], list[FetchPartition]]:
        """(whether all is told anew, what is told, what is forgotten)."""
        self.look()
        request = self.lane.next_request()
        assert not self.lane.session.answered(0, 7)
        return request.is_full, list(request.partitions), list(request.forgotten)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    times = [1_700_000_000_000]
    for module in (copy_module, lane_module):
        monkeypatch.setattr(module, "now_ms", lambda: times[0])
    return times


def begun(partitions: int = 3) -> tuple[Asking, list[PartitionCopy]]:
    asking, copies = Asking(), list(mirror(partitions=partitions).partitions.values())
    for copy in copies:
        asking.lane.add(copy)
    full, told, _ = asking.ask()
    assert (full, len(told)) == (True, partitions)
    return asking, copies


def answer(copy: PartitionCopy, end: int, **more: Any) -> Fetched:
    given = {"error": 0, "high_watermark": end, "last_stable_offset": end, "log_start": 0, "aborted": ()} | more
    return Fetched(copy.source_topic_id, copy.partition, records=memoryview(b""), **given)


def test_a_partition_in_which_nothing_happens_is_not_told_again() -> None:
    asking, _ = begun()
    assert asking.ask() == (False, [], [])


def test_each_change_of_a_copy_is_told() -> None:
    asking, (copy, *_) = begun()

    def told() -> tuple[list[int], list[int]]:
        _, partitions, forgotten = asking.ask()
        return [p.offset for p in partitions], [p.offset for p in forgotten]

    copy.enqueue(Fill(5, 3, Gap.MARKER))
    assert told() == ([8], [])
    copy.drop_queue()
    assert told() == ([5], [])
    copy.cut_at(5)
    assert told() == ([], [5])
    copy.limit = None
    copy.touch()
    assert told() == ([5], [])
    copy.closed()
    assert told() == ([], [5])
    assert copy.lane is None
    copy.opened(0, 9, None, 2)
    asking.lane.add(copy)
    assert asking.ask()[1][0].last_epoch == 2


def test_the_end_of_a_promote_that_is_taken_back_is_fetched_on() -> None:
    asking, _ = begun(0)
    parent = mirror(partitions=1)
    copy = parent.partitions[0]
    asking.lane.add(copy)
    copy.cut_at(5)
    assert not asking.ask()[1]
    parent.update(parent.mirror)
    assert [p.offset for p in asking.ask()[1]] == [5]


def test_what_waits_for_room_or_for_a_while_is_forgotten_and_told_again() -> None:
    asking, (copy, other, _) = begun()
    copy._queue_bytes = ROOM
    copy.touch()
    other.retry_fetch_at = time.monotonic() + 0.02
    other.touch()
    assert [p.partition for p in asking.ask()[2]] == [0, 1]
    assert asking.lane.full == {copy}
    copy._queue_bytes = 0
    copy.touch()
    time.sleep(0.03)  # its time comes without a touch
    assert [p.partition for p in asking.ask()[1]] == [1, 0]
    assert not asking.lane.full


def test_one_that_is_another_brokers_is_given_away() -> None:
    ours = [True]
    asking = Asking(lambda _: ours[0])
    copy = mirror().partitions[0]
    asking.lane.add(copy)
    asking.ask()
    ours[0] = False
    copy.touch()
    assert asking.ask() == (False, [], [FetchPartition("t", copy.source_topic_id, 0, 5, 50, 0)])
    assert asking.moved == [copy]
    assert (copy.lane, list(asking.lane.members), list(asking.lane.asked)) == (None, [], [])


def test_what_is_more_than_its_share_is_given_away() -> None:
    asking, copies = begun()
    asking.look(most=1)
    assert asking.moved == copies[1:]
    assert list(asking.lane.members) == copies[:1]


def test_a_copy_that_takes_the_place_of_another_is_told_all_anew() -> None:
    """The broker would leave out what it has told before: it has told it to another copy."""
    asking, (copy, *_) = begun()
    asking.lane.release(copy)
    asking.lane.add(mirror().partitions[0])
    full, told, _ = asking.ask()
    assert (full, len(told)) == (True, 3)


def test_another_connection_begins_another_session_and_names_topics_as_it_can() -> None:
    asking, (copy, *_) = begun()
    asking.connect(BY_NAME)
    full, told, _ = asking.ask()
    assert (full, len(told)) == (True, 3)
    named = Fetched("t", 0, 0, 5, 5, 0, (), memoryview(b""))
    assert asking.lane.answer_for(named) == (copy, True)


def test_more_is_asked_of_each_when_there_are_fewer() -> None:
    asking, (copy, *_) = begun()
    asking.look(each=70)
    request = asking.lane.next_request()
    assert [p.max_bytes for p in request.partitions] == [70] * 3
    copy.fetch_bytes = 500
    copy.touch()
    asking.look(each=70)
    asking.lane.session.answered(0, 7)
    assert [p.max_bytes for p in asking.lane.next_request().partitions] == [500]


def test_a_full_partition_is_asked_for_again_once_something_of_it_is_sent() -> None:
    asking, (copy, *_) = begun()
    copy.enqueue(*[Append(offset, 1, memoryview(bytes(ROOM)), 0, 0) for offset in (5, 6)])
    assert [p.offset for p in asking.ask()[2]] == [5], "it is left out from now on"
    copy.take()
    assert asking.ask() == (False, [], []), "the other one is as much"
    asking.lane.wake.clear()
    copy.take()
    assert asking.lane.wake.is_set()
    assert [p.offset for p in asking.ask()[1]] == [7]


def test_an_answer_for_a_partition_that_was_not_asked_is_refused() -> None:
    asking, (copy, *_) = begun()
    with pytest.raises(ProtocolError):
        asking.lane.answer_for(answer(mirror("t", 9).partitions[7], 5))
    copy.cut_at(5)
    asking.ask()
    with pytest.raises(ProtocolError):
        asking.lane.answer_for(answer(copy, 5))


def test_records_are_not_for_a_copy_that_was_opened_anew() -> None:
    asking, (copy, other, _) = begun()
    copy.closed()
    copy.opened(0, 5, None, 0)
    assert asking.lane.answer_for(answer(copy, 5)) == (copy, False)
    assert asking.lane.answer_for(answer(other, 5)) == (other, True)


def test_who_is_left_out_of_an_answer_has_been_seen_all_the_same(clock: list[int]) -> None:
    asking, (copy, other, never) = begun()
    for known in (copy, other):
        asking.lane.seen(known, 5, clock[0])
    clock[0] += 500
    asking.lane.all_seen(clock[0] - 500)
    assert (copy.status(None).fetched_ms, copy.lag_ms()) == (clock[0], 0)
    assert never.status(None).fetched_ms is None, "nothing was ever told of it"
    clock[0] += 500  # an answer that was throttled: nobody has looked
    assert copy.status(None).fetched_ms == clock[0] - 500
    clock[0] += 500
    asking.lane.answer_for(answer(other, -1, error=6))
    asking.lane.all_seen(clock[0] - 500)
    assert copy.status(None).fetched_ms == clock[0]
    assert other.status(None).fetched_ms == clock[0] - 1000, "its leader has moved: this answer tells nothing of it"


def test_a_record_came_after_the_last_answer_that_left_its_partition_out(clock: list[int]) -> None:
    asking, (copy, *_) = begun()
    asking.lane.seen(copy, 5, clock[0])
    for _ in range(100):
        clock[0] += 500
        asking.lane.all_seen(clock[0] - 500)
    clock[0] += 100
    asking.lane.seen(copy, 6, clock[0] - 100)
    assert copy.lag_ms() == 600
    asking.lane.all_seen(clock[0] - 100)
    clock[0] += 1000
    assert copy.lag_ms() == 1600


def test_one_that_is_not_asked_any_more_is_not_seen(clock: list[int]) -> None:
    asking, (copy, *_) = begun()
    asking.lane.seen(copy, 5, clock[0])
    asking.lane.all_seen(clock[0])
    copy.cut_at(5)
    asking.ask()
    clock[0] += 500
    asking.lane.all_seen(clock[0] - 500)
    assert copy.status(None).fetched_ms == clock[0] - 500


def test_one_that_waited_for_room_for_less_than_a_request_is_still_seen(clock: list[int]) -> None:
    """The broker was never told to forget it, and so it does not tell again where the source ends."""
    asking, (copy, *_) = begun()
    asking.lane.seen(copy, 5, clock[0])
    asking.lane.all_seen(clock[0])
    copy._queue_bytes = ROOM
    copy.touch()
    asking.look()
    assert copy not in asking.lane.asked
    copy._queue_bytes = 0
    copy.touch()
    assert asking.ask() == (False, [], [])
    clock[0] += 500
    asking.lane.all_seen(clock[0] - 500)
    assert copy.status(None).fetched_ms == clock[0]


def test_what_a_slow_broker_leads_is_left_out_until_it_is_touched() -> None:
    asking, made = Asking(), mirror()
    for number, copy in made.partitions.items():
        copy.node = number % 2
        asking.lane.add(copy)
    asking.ask()
    asking.lane.touch(made.partitions[1])
    asking.lane.look(most=100, room_bytes=ROOM, each=lambda _: (50, 100), slow=frozenset({1}))
    assert [p.partition for p in asking.lane.next_request().forgotten] == [1]
    assert made.partitions[1] not in asking.lane.asked
    asking.lane.session.answered(0, 7)
    asking.lane.touch(made.partitions[1])
    _, told, _ = asking.ask()
    assert [p.partition for p in told] == [1]
