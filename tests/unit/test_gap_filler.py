"""The rules for sending markers, one by one, with a broker and a coordinator that are played."""

import asyncio
import struct
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from kafka.protocol.consumer import ListOffsetsRequest, ListOffsetsResponse
from kafka.protocol.producer import WriteTxnMarkersRequest, WriteTxnMarkersResponse

from kmirror.engine import gap_filler as module
from kmirror.engine.budget import Budget
from kmirror.engine.copy import PartitionCopy
from kmirror.engine.gap_filler import GapFiller
from kmirror.engine.identity import LEASE_S, Superseded
from kmirror.engine.steps import Fill, Gap
from kmirror.errors import ClusterError
from kmirror.model.mirror import Mirror, MirrorError
from kmirror.model.states import MirrorState
from kmirror.wire import markers as wire_markers
from kmirror.wire.errors import ConnectionLost, UnsupportedVersion
from kmirror.wire.producer_state import ProducerState
from kmirror.wire.topic_id import topic_id_text

TOPIC_ID = topic_id_text(bytes(range(16)))
NODE = 4


class Played:
    """Clock, coordinator and broker. `landing` says how many of the markers of a request land, `error` what is told."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.ends: dict[tuple[str, int], int] = {}
        self.requests: list[tuple[float, int, dict[tuple[str, int], int]]] = []
        """When, with which token, and how many for which partition."""
        self.leases: list[float] = []
        self.taken_over = False
        self.lease_takes = 0.0
        self.foreign = 0
        self.error = 0
        self.landing: Callable[[int], int] = lambda count: count
        self.breaks = False
        self.producer_id, self.run_token = 9, 3

    # the connection

    async def unthrottled(self) -> None:
        """No quota here."""

    # the identity

    async def lease(self) -> float:
        asked = self.now
        self.leases.append(asked)
        await asyncio.sleep(0)
        self.now += self.lease_takes
        if self.taken_over:
            raise Superseded("another runner took this link over")
        return asked + LEASE_S

    # the cluster and its connection

    async def connection(self, node: int, purpose: str) -> "Played":
        assert (node, purpose) == (NODE, "markers")
        return self

    writes_now = True

    async def drain(self) -> None:
        pass

    def version_of(self, api: int, least: int, most: int) -> int:
        return most

    def send(self, api: int, version: int, parts: list[bytes], **_: Any) -> "asyncio.Future[memoryview]":
        if api == ListOffsetsRequest.API_KEY:
            return self._log_ends(parts, version)
        request = WriteTxnMarkersRequest.decode(b"".join(parts), version=version)
        counts: dict[tuple[str, int], int] = {}
        tokens = set()
        for entry in request.markers:
            assert entry.producer_epoch + wire_markers.OWN_COORDINATOR == entry.coordinator_epoch
            tokens.add(entry.producer_epoch)
            for topic in entry.topics:
                for partition in topic.partition_indexes:
                    counts[topic.name, partition] = counts.get((topic.name, partition), 0) + 1
        self.requests.append((self.now, tokens.pop(), counts))
        answer: asyncio.Future[memoryview] = asyncio.get_running_loop().create_future()
        if self.breaks:
            answer.set_exception(ConnectionLost("connection lost"))
            return answer
        for place, count in counts.items():
            self.ends[place] = self.ends.get(place, 0) + self.landing(count) + self.foreign
        answer.set_result(self._answer(list(counts)))
        return answer

    def _answer(self, places: list[tuple[str, int]]) -> memoryview:
        result = WriteTxnMarkersResponse.WritableTxnMarkerResult
        topic_result = result.WritableTxnMarkerTopicResult
        partition = topic_result.WritableTxnMarkerPartitionResult
        topics = [
            topic_result(name=name, partitions=[partition(partition_index=index, error_code=self.error)])
            for name, index in places
        ]
        answer = WriteTxnMarkersResponse(markers=[result(producer_id=9, topics=topics)])
        return memoryview(bytearray(struct.pack(">i", 1) + b"\0" + answer.encode(version=1)))

    def _log_ends(self, parts: list[bytes], version: int) -> "asyncio.Future[memoryview]":
        """ListOffsets, behind the markers."""
        request = ListOffsetsRequest.decode(b"".join(parts), version=version)
        assert request.replica_id == -2, "the log end, not the high watermark"
        topic = ListOffsetsResponse.ListOffsetsTopicResponse
        partition = topic.ListOffsetsPartitionResponse
        topics = [
            topic(
                name=t.name,
                partitions=[
                    partition(
                        partition_index=p.partition_index,
                        error_code=0 if (t.name, p.partition_index) in self.ends else 6,
                        timestamp=-1,
                        offset=self.ends.get((t.name, p.partition_index), 0),
                        leader_epoch=0,
                    )
                    for p in t.partitions
                ],
            )
            for t in request.topics
        ]
        answer: asyncio.Future[memoryview] = asyncio.get_running_loop().create_future()
        body = ListOffsetsResponse(throttle_time_ms=0, topics=topics).encode(version=version)
        answer.set_result(memoryview(bytearray(struct.pack(">i", 1) + body)))
        return answer

    def throttled(self, ms: int) -> None:
        assert ms == 0


class Stage:
    def __init__(self, monkeypatch: pytest.MonkeyPatch, runner: asyncio.Runner) -> None:
        self.played = Played()
        self.runner = runner
        monkeypatch.setattr(module, "clock_s", lambda: self.played.now)
        self.broken: list[tuple[PartitionCopy, ClusterError]] = []
        self.ended: list[MirrorError] = []
        self.refused: list[PartitionCopy] = []
        self.superseded: list[Superseded] = []
        self.filler = GapFiller(
            NODE,
            self.played,  # type: ignore[arg-type]
            self.played,  # type: ignore[arg-type]
            on_filled=self._on_filled,
            on_broken=self._on_broken,
            on_end=lambda copy, error: self.ended.append(error),
            on_refused=self.refused.append,
            on_superseded=self.superseded.append,
        )

    def _on_filled(self, copy: PartitionCopy) -> None:
        if isinstance(copy.next_step(), Fill) and copy.is_open:
            self.filler.ready(copy)

    def _on_broken(self, copy: PartitionCopy, error: ClusterError) -> None:
        self.broken.append((copy, error))
        copy.closed()

    def gap(self, count: int, *, partition: int = 0, at: int = 10, fenced: bool = False) -> PartitionCopy:
        """`fenced`: the partition has a marker with our token."""
        mirror = Mirror("t", "s", TOPIC_ID, TOPIC_ID, 3, MirrorState.ACTIVE, 1)
        copy = PartitionCopy(mirror, partition, Budget(1 << 20))
        copy.opened(NODE, at, ProducerState(0, at - 1), -1)
        copy.fenced_by = self.played.run_token if fenced else None
        copy.enqueue(Fill(at, count, Gap.HOLE))
        self.played.ends["t", partition] = at
        self.filler.ready(copy)
        return copy

    def run(self, until: Callable[[], bool]) -> None:
        async def both() -> None:
            task = asyncio.ensure_future(self.filler.run())
            async with asyncio.timeout(10):
                while not until() and not task.done():  # noqa: ASYNC110
                    await asyncio.sleep(0)
            if task.done():
                task.result()
            task.cancel()

        self.runner.run(both())

    def counts(self) -> list[int]:
        return [sum(counts.values()) for _, _, counts in self.played.requests]


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    with asyncio.Runner() as runner:
        yield Stage(monkeypatch, runner)


@pytest.mark.parametrize(
    ("count", "requests"), [(1, [1]), (2, [1, 1]), (3, [2, 1]), (4_000, [3_999, 1]), (7_001, [5_000, 2_000, 1])]
)
def test_the_last_marker_of_a_gap_goes_alone(stage: Stage, count: int, requests: list[int]) -> None:
    copy = stage.gap(count, fenced=True)
    stage.run(lambda: copy.next_step() is None)
    assert stage.counts() == requests
    assert copy.appender.log_end == 10 + count


@pytest.mark.parametrize(("count", "requests"), [(1, [1]), (2, [1, 1]), (3, [1, 1, 1]), (7_001, [1, 5_000, 1_999, 1])])
def test_the_first_marker_with_a_token_goes_alone(stage: Stage, count: int, requests: list[int]) -> None:
    copy = stage.gap(count)
    stage.run(lambda: copy.next_step() is None)
    assert stage.counts() == requests
    assert copy.fenced_by == 3
    assert copy.appender.log_end == 10 + count
    assert {token for _, token, _ in stage.played.requests} == {3}


def test_markers_of_many_partitions_travel_together(stage: Stage) -> None:
    copies = [stage.gap(3, partition=partition, fenced=True) for partition in range(3)]
    stage.run(lambda: all(copy.next_step() is None for copy in copies))
    assert stage.counts() == [6, 3]


def test_nothing_is_sent_without_a_lease(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    """Asking took longer than the lease lasts: it counts from the asking, so it is asked again."""
    stage.played.lease_takes = LEASE_S + 0.01
    copy = stage.gap(1)
    stage.run(lambda: len(stage.played.leases) > 5)
    assert stage.played.requests == []
    assert isinstance(copy.next_step(), Fill)
    assert not caplog.records
    stage.run(lambda: len(stage.played.leases) > 12)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    stage.played.lease_takes = 0.0
    stage.run(lambda: copy.next_step() is None)
    assert stage.counts() == [1]


def test_a_lease_is_asked_for_again_before_it_ends(stage: Stage) -> None:
    for number in range(20):
        copy = stage.gap(1, partition=number % 3, at=10 + number)
        stage.run(lambda c=copy: c.next_step() is None)
        stage.played.now += 0.06
    for sent, _, _ in stage.played.requests:
        assert any(sent - LEASE_S <= asked <= sent for asked in stage.played.leases)
    assert len(stage.played.leases) < 20, "one lease serves several requests"


def test_another_token_needs_another_lease(stage: Stage) -> None:
    first = stage.gap(1)
    stage.run(lambda: first.next_step() is None)
    stage.played.run_token = 4
    second = stage.gap(1, partition=1)
    stage.run(lambda: second.next_step() is None)
    assert [token for _, token, _ in stage.played.requests] == [3, 4]
    assert len(stage.played.leases) == 2


def test_whoever_lost_the_link_sends_nothing(stage: Stage) -> None:
    stage.played.taken_over = True
    copy = stage.gap(5)
    stage.run(lambda: bool(stage.superseded))
    assert stage.played.requests == []
    assert [broken for broken, _ in stage.broken] == [copy]
    assert copy.marker_in_doubt is None, "nothing was sent: nothing is in doubt"


def test_a_broken_connection_leaves_the_markers_in_doubt(stage: Stage) -> None:
    stage.played.breaks = True
    copy = stage.gap(5)
    stage.run(lambda: bool(stage.broken))
    assert not copy.is_open
    assert copy.in_doubt
    assert not copy.marking
    assert copy.marker_in_doubt == 3, "the next opening renews this token"


def test_what_landed_in_part_is_filled_on(stage: Stage) -> None:
    stage.played.landing = lambda count: max(1, count // 2)
    copy = stage.gap(9)
    stage.run(lambda: copy.next_step() is None)
    assert stage.played.ends["t", 0] == 19
    assert not stage.ended


def test_an_error_opens_the_partition_anew(stage: Stage) -> None:
    stage.played.landing = lambda count: 0
    stage.played.error = 6
    copy = stage.gap(9)
    stage.run(lambda: bool(stage.broken))
    assert not copy.is_open
    assert copy.marker_in_doubt is None, "the log end behind the answer is final"


@pytest.mark.parametrize("count", [1, 9])
def test_a_log_end_beyond_what_was_wanted_ends_the_mirror(stage: Stage, count: int) -> None:
    stage.played.foreign = 1
    stage.gap(count, fenced=True)
    stage.run(lambda: bool(stage.ended))
    (error,) = stage.ended
    assert (error.code, error.offset) == ("MARKER_OVERRUN", 10 + max(1, count - 1))
    assert len(stage.played.requests) == 1


def test_a_log_end_that_a_younger_runner_moved_is_no_overrun(stage: Stage) -> None:
    """First it is asked whether the token is still ours; a loser never sets FAILED."""
    copy = stage.gap(9, fenced=True)
    stage.played.foreign = 1
    stage.played.landing = lambda count: setattr(stage.played, "taken_over", True) or count
    stage.run(lambda: bool(stage.superseded))
    assert stage.ended == []
    assert not copy.is_open


@pytest.mark.parametrize("moved", [1, 8])
def test_what_landed_before_the_first_marker_is_looked_at_by_the_next_opening(stage: Stage, moved: int) -> None:
    """Late markers of an earlier run, within the gap: nothing is sent behind them, and nothing has ended."""
    copy = stage.gap(9)
    stage.played.ends["t", 0] += moved
    stage.run(lambda: bool(stage.broken))
    assert stage.played.requests == []
    assert copy.settle_first
    assert not copy.is_open
    assert not stage.ended


@pytest.mark.parametrize(("count", "foreign", "ends"), [(9, 8, False), (9, 9, True), (1, 1, True)])
def test_what_landed_beside_the_first_marker(stage: Stage, count: int, foreign: int, ends: bool) -> None:
    """As long as it is within the gap the next opening tells what it is; beyond, it took a record's offset."""
    stage.played.foreign = foreign
    copy = stage.gap(count)
    stage.run(lambda: bool(stage.ended or stage.broken))
    assert bool(stage.ended) is ends
    assert copy.settle_first is not ends
    assert copy.fenced_by is None


def test_a_partition_that_moved_away_is_opened_anew(stage: Stage) -> None:
    copy = stage.gap(2)
    del stage.played.ends["t", 0]
    stage.run(lambda: bool(stage.broken))
    assert not copy.settle_first
    assert stage.played.requests == []


def test_without_the_right_another_way_is_looked_for(stage: Stage) -> None:
    stage.played.error = 31
    stage.played.landing = lambda count: 0
    copy = stage.gap(2)
    stage.run(lambda: bool(stage.refused))
    assert stage.refused == [copy]
    assert not copy.busy
    assert copy.is_open
    assert copy.marker_in_doubt is None


def test_a_broker_that_keeps_the_request_from_clients(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    def version_of(api: int, least: int, most: int) -> int:
        if api == wire_markers.API_KEY:
            raise UnsupportedVersion("no such request")
        return most

    monkeypatch.setattr(stage.played, "version_of", version_of)
    copy = stage.gap(2)
    stage.run(lambda: bool(stage.refused))
    assert stage.refused == [copy]
    assert not copy.busy


def test_a_partition_with_batches_in_flight_gets_no_marker(stage: Stage) -> None:
    copy = stage.gap(5)
    copy.marking = True  # something is on its way
    other = stage.gap(1, partition=1)
    stage.run(lambda: other.next_step() is None)
    assert stage.counts() == [1]
    assert isinstance(copy.next_step(), Fill)
