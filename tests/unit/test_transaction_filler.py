"""Gaps by empty transactions, with a coordinator that is played: every history of lost, late and timed out requests."""

import asyncio
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmirror.engine import transaction_filler as filler_module
from kmirror.engine import transactions as module
from kmirror.engine.budget import Budget
from kmirror.engine.copy import PartitionCopy
from kmirror.engine.identity import Superseded
from kmirror.engine.steps import Fill, Gap
from kmirror.engine.transaction_filler import TransactionFiller
from kmirror.engine.transactions import Transactions
from kmirror.errors import ClusterError
from kmirror.model.failures import Failure
from kmirror.model.mirror import Mirror, MirrorError
from kmirror.model.states import MirrorState
from kmirror.wire.answers import Answers
from kmirror.wire.errors import BrokerError, ConnectionLost
from kmirror.wire.producer_state import ProducerState
from kmirror.wire.topic_id import topic_id_text
from kmirror.wire.topics import Place

TOPIC_ID = topic_id_text(bytes(range(16)))
FENCED, CONCURRENT, INVALID_STATE, DENIED = 90, 51, 48, 53
NAME = "kmirror.l.id.t-0"

FAULTS = ("lost", "answer-lost", "late", "timed-out", "slow")


@dataclass
class Coordinator:
    """TransactionCoordinator for one transactional id and its one partition: KIP-98's states, and what may happen to a
    request. `faults`: by number of the request. `log_end` is that of the partition.
    """

    log_end: int = 10
    stage: str | None = None
    epoch: int = -1
    faults: dict[int, str] = field(default_factory=dict)
    late: list[Callable[[], object]] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    denied: bool = False
    before: Callable[[str], None] = lambda what: None
    begun: int = 0
    taken_over: bool = False

    # what the coordinator does by itself

    def write_markers(self) -> None:
        if self.stage in {"PrepareCommit", "PrepareAbort"}:
            self.log_end += 1
            self.stage = self.stage.replace("Prepare", "Complete")

    def time_out(self) -> None:
        if self.stage == "Ongoing":
            self.epoch += 1
            self.stage = "PrepareAbort"

    # requests

    def init(self) -> int:
        if self.stage == "Ongoing":
            self.epoch += 1
            self.stage = "PrepareAbort"
            return CONCURRENT
        if self.stage in {"PrepareCommit", "PrepareAbort"}:
            return CONCURRENT
        self.epoch += 1
        self.stage = "Empty"
        return 0

    def add(self, epoch: int) -> int:
        if self.stage is None or epoch != self.epoch:
            return FENCED
        if self.stage in {"PrepareCommit", "PrepareAbort"}:
            return CONCURRENT
        if self.stage != "Ongoing":
            self.begun += 1
        self.stage = "Ongoing"
        return 0

    def end(self, epoch: int) -> int:
        if self.stage is None or epoch != self.epoch:
            return FENCED
        if self.stage != "Ongoing":
            return INVALID_STATE
        self.stage = "PrepareCommit"
        return 0

    def ask(self, what: str, does: Callable[[], int]) -> int:
        number = len(self.requests)
        self.requests.append(what)
        self.before(what)
        if self.denied:
            return DENIED
        fault = self.faults.get(number)
        if fault == "timed-out":
            self.time_out()
        if fault != "slow":
            self.write_markers()
        if fault == "lost":
            raise ConnectionLost("cut before it")
        if fault == "late":
            self.late.append(does)
            raise ConnectionLost("cut, and yet")
        for request in self.late[: number % 2]:
            self.late.remove(request)
            request()
        code = does()
        if fault == "answer-lost":
            raise ConnectionLost("cut behind it")
        return code


class Stage:
    """One runner's filler on one partition; `reopen` is what engine/opening.py does."""

    def __init__(self, coordinator: Coordinator) -> None:
        self.coordinator = coordinator
        self.ended: list[MirrorError] = []
        self.superseded: list[Superseded] = []
        self.broken: list[ClusterError] = []
        self.leases = 0
        self.run_token = 3
        self.fences = 0
        self.may_be_fenced = False
        self.transactions = Transactions(self, "kmirror.l.id")  # type: ignore[arg-type]
        mirror = Mirror("t", "s", TOPIC_ID, TOPIC_ID, 1, MirrorState.ACTIVE, 1)
        self.copy = PartitionCopy(mirror, 0, Budget(1 << 20))
        self.tasks: set[asyncio.Task[None]] = set()

    # the cluster and the identity

    async def coordinator_nodes(self, names: Collection[str]) -> Answers[str, int]:
        assert list(names) == [NAME]
        return {NAME: 1}

    async def connection(self, node: int, purpose: str, number: int = 0) -> "Stage":
        return self

    async def lease(self) -> float:
        self.leases += 1
        if self.coordinator.taken_over:
            raise Superseded("another runner took this link over")
        return 0.0

    # the fence: a transaction of the link itself

    async def is_possible(self, copy: PartitionCopy) -> bool:
        return self.may_be_fenced

    async def take_offset(self, copy: PartitionCopy) -> int:
        self.fences += 1
        self.coordinator.log_end += 1
        return self.run_token

    # the flow

    def start(self, gap_end: int) -> None:
        self.gap_end = gap_end
        self.filler = TransactionFiller(
            self,  # type: ignore[arg-type]
            self,  # type: ignore[arg-type]
            self.transactions,
            self,  # type: ignore[arg-type]
            start=self._start,
            on_filled=self._on_filled,
            on_broken=self._on_broken,
            on_end=lambda copy, error: self.ended.append(error),
            on_superseded=self.superseded.append,
        )

    def _start(self, work: object) -> None:
        task = asyncio.ensure_future(work)  # type: ignore[call-overload]
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def _on_filled(self, copy: PartitionCopy) -> None:
        self.filler.ready(copy)

    def _on_broken(self, copy: PartitionCopy, error: ClusterError) -> None:
        self.broken.append(error)
        copy.closed()

    async def reopen(self) -> None:
        while True:
            try:
                await self.transactions.settle(self.copy)
            except ClusterError:
                continue
            break
        self.copy.opened(1, self.coordinator.log_end, ProducerState(0, 4), -1)
        if self.coordinator.log_end > self.gap_end:  # the tail check: a marker where the source has a record
            self.ended.append(MirrorError(Failure.MARKER_OVERRUN, "", 0, self.gap_end))
        elif self.coordinator.log_end < self.gap_end:
            self.copy.enqueue(Fill(self.coordinator.log_end, self.gap_end - self.coordinator.log_end, Gap.HOLE))

    async def run(self) -> None:
        """Until the gap is filled, the mirror has ended, or another runner has the link."""
        while not self.ended and not self.superseded:
            if not self.copy.is_open:
                await self.reopen()
                self.filler.ready(self.copy)
            if self.copy.drained:
                return
            await asyncio.sleep(0)
            for task in list(self.tasks):
                if task.done():
                    task.result()


@contextmanager
def played(coordinator: Coordinator) -> Iterator[None]:
    """The requests of wire/transactions.py, and the reading of the log end."""

    async def init_producer_id(_: object, name: str) -> tuple[int, int]:
        code = coordinator.ask("init", coordinator.init)
        if code:
            raise BrokerError(code, "InitProducerId")
        return 7, coordinator.epoch

    async def add_partitions(_: object, name: str, producer: tuple[int, int], places: list[Place]) -> dict[Place, int]:
        assert places == [("t", 0)]
        return {("t", 0): coordinator.ask("add", lambda: coordinator.add(producer[1]))}

    async def end_transaction(_: object, name: str, producer: tuple[int, int]) -> int:
        return coordinator.ask("end", lambda: coordinator.end(producer[1]))

    async def transaction_stage(_: object, name: str) -> str | None:
        code = coordinator.ask("stage", lambda: 0)
        if code:
            raise BrokerError(code, "DescribeTransactions")
        return coordinator.stage

    async def transaction_stages(_: object, names: Collection[str]) -> Answers[str, str | None]:
        assert list(names) == [NAME]
        try:
            return {NAME: await transaction_stage(_, NAME)}
        except BrokerError as e:
            return {NAME: e}

    async def log_end(*_: object) -> int:
        return coordinator.log_end

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "add_partitions", add_partitions)
        patch.setattr(module, "end_transaction", end_transaction)
        patch.setattr(module, "transaction_stage", transaction_stage)
        patch.setattr(module, "transaction_stages", transaction_stages)
        patch.setattr(module, "_FIRST_WAIT_S", 0.0)
        patch.setattr(module, "_LONGEST_WAIT_S", 0.0)
        patch.setattr(module.rpc, "init_producer_id", init_producer_id)
        patch.setattr(filler_module.rpc, "log_end", log_end)
        yield


def fill(coordinator: Coordinator, count: int, before: Callable[[Stage], None] = lambda stage: None) -> Stage:
    stage = Stage(coordinator)

    async def run() -> None:
        stage.start(coordinator.log_end + count)
        before(stage)
        async with asyncio.timeout(20):
            await stage.run()

    with played(coordinator):
        asyncio.run(run())
    return stage


@pytest.mark.parametrize("count", [1, 2, 49, 50, 51, 130])
def test_each_transaction_takes_one_offset(count: int) -> None:
    coordinator = Coordinator()
    stage = fill(coordinator, count)
    assert coordinator.log_end == 10 + count
    assert coordinator.requests.count("end") == count
    assert coordinator.requests.count("init") == 1
    assert stage.copy.appender.log_end == 10 + count
    assert not stage.broken


@pytest.mark.parametrize("count", [1, 2, 30])
def test_the_first_offset_with_a_token_is_taken_by_the_link_itself(count: int) -> None:
    """Its marker moves the epoch of our batches: from then on they begin at sequence 0, and older ones are refused."""

    def may_be(stage: Stage) -> None:
        stage.may_be_fenced = True

    stage = fill(Coordinator(), count, before=may_be)
    copy = stage.copy
    assert (stage.fences, copy.fenced_by, stage.coordinator.begun) == (1, 3, count - 1)
    assert (copy.appender.log_end, copy.appender.epoch, copy.appender._sequence) == (10 + count, 3, 0)
    assert stage.coordinator.log_end == 10 + count


@given(
    count=st.integers(1, 60),
    faults=st.dictionaries(st.integers(0, 200), st.sampled_from(FAULTS), max_size=12),
    left_open=st.booleans(),
)
def test_no_history_takes_an_offset_too_many(count: int, faults: dict[int, str], left_open: bool) -> None:
    """Lost requests and answers, requests that come late, transactions that time out, and one that was left open."""
    coordinator = Coordinator(faults=faults)
    wanted = coordinator.log_end + count
    if left_open:  # by a runner that was killed, at the first offset of the gap
        coordinator.init()
        coordinator.add(coordinator.epoch)
    stage = fill(coordinator, count)
    assert not stage.ended
    assert coordinator.log_end == wanted
    assert stage.copy.appender.log_end == wanted
    for request in coordinator.late:  # afterwards batches are sent: nothing may come between them
        request()
    coordinator.time_out()
    coordinator.write_markers()
    assert coordinator.log_end == wanted


@given(moment=st.integers(0, 120), faults=st.dictionaries(st.integers(0, 120), st.sampled_from(FAULTS), max_size=6))
def test_a_run_that_was_fenced_takes_no_offset(moment: int, faults: dict[int, str]) -> None:
    """Another run takes the link over before any request: what this one does from then on moves nothing."""
    coordinator = Coordinator(faults=faults)
    settled: list[int] = []

    def take_over(_: str) -> None:
        if len(coordinator.requests) <= moment or settled:
            return
        coordinator.taken_over = True  # first it renews the run token, then it looks for what it has to settle
        if coordinator.stage is not None:
            while coordinator.init() != 0:
                coordinator.write_markers()
        settled.append(coordinator.log_end)

    coordinator.before = take_over
    stage = fill(coordinator, 50)
    if not settled:
        return
    for request in coordinator.late:
        request()
    coordinator.time_out()
    coordinator.write_markers()
    assert coordinator.log_end == settled[0]
    assert not stage.ended, "a loser never sets FAILED"


@pytest.mark.parametrize("left", [None, "Empty", "Ongoing", "PrepareCommit", "CompleteCommit"])
def test_settling_ends_what_was_left_and_fences_who_left_it(left: str | None) -> None:
    coordinator = Coordinator(stage=left, epoch=-1 if left is None else 3)
    stage = Stage(coordinator)
    with played(coordinator):
        asyncio.run(stage.transactions.settle(stage.copy))
    assert coordinator.log_end == (11 if left in {"Ongoing", "PrepareCommit"} else 10)
    assert coordinator.add(3) == FENCED
    if left is None:
        assert coordinator.requests == ["stage"], "nobody needs a transactional id for a partition without gaps"


def test_settling_without_the_right_is_nothing_to_do() -> None:
    coordinator = Coordinator(denied=True)
    stage = Stage(coordinator)
    with played(coordinator):
        asyncio.run(stage.transactions.settle(stage.copy))
    assert coordinator.requests == ["stage"]


def test_a_position_that_moved_is_read_again() -> None:
    """Behind the claim the log end is not where the partition was opened: it is opened anew, nothing is taken."""
    coordinator = Coordinator()

    def move(what: str) -> None:
        if what == "init" and coordinator.log_end == 10:
            coordinator.log_end += 1

    coordinator.before = move
    stage = fill(coordinator, 1)
    assert len(stage.broken) == 1
    assert not stage.ended
    assert coordinator.log_end == 11
    assert coordinator.begun == 0


@pytest.mark.parametrize(("count", "ends"), [(1, True), (2, False), (30, False)])
def test_a_marker_too_many(count: int, ends: bool) -> None:
    """Written twice by a coordinator that broke down: within a gap it is as good as any, behind it the mirror ends."""
    coordinator = Coordinator()

    def twice(what: str) -> None:
        if what == "end" and coordinator.requests.count("end") == 1:
            coordinator.log_end += 1

    coordinator.before = twice
    stage = fill(coordinator, count)
    assert coordinator.log_end == 10 + max(2, count)
    assert [error.code for error in stage.ended] == (["MARKER_OVERRUN"] if ends else [])


def test_more_than_the_tail_check_looks_back_over_ends_the_mirror_at_once() -> None:
    coordinator = Coordinator()

    def flood(what: str) -> None:
        if what == "end" and coordinator.log_end == 10:
            coordinator.log_end += 120

    coordinator.before = flood
    stage = fill(coordinator, 300)
    (error,) = stage.ended
    assert (error.code, error.offset) == ("MARKER_OVERRUN", 60)
    assert coordinator.log_end == 10 + 120 + 50


def test_a_log_end_that_a_younger_run_moved_is_no_overrun() -> None:
    coordinator = Coordinator()

    def overtaken(what: str) -> None:
        if what == "end":
            coordinator.taken_over = True
            coordinator.log_end += 5

    coordinator.before = overtaken
    stage = fill(coordinator, 2)
    assert stage.superseded
    assert not stage.ended


def test_without_the_right_the_mirror_ends_and_names_both_ways() -> None:
    stage = fill(Coordinator(denied=True), 2)
    (error,) = stage.ended
    assert (error.code, error.offset) == ("GAP_NOT_FILLABLE", 10)
    assert f'WRITE on the transactional id "{NAME}", or ALTER on the cluster' in error.message
    assert not stage.copy.busy


def test_nothing_is_filled_from_the_target_of_a_promote_on() -> None:
    coordinator = Coordinator()
    coordinator.before = lambda what: stage_of_copy[0].cut_at(13) if what == "end" else None
    stage_of_copy: list[PartitionCopy] = []
    stage = fill(coordinator, 20, before=lambda stage: stage_of_copy.append(stage.copy))
    assert coordinator.log_end == 13
    assert stage.copy.at_limit


def test_a_partition_that_is_closed_meanwhile_ends_what_it_began() -> None:
    coordinator = Coordinator()
    stages: list[Stage] = []

    def close(what: str) -> None:
        if what == "end":
            stages[0].copy.closed()
            stages[0].gap_end = 11

    coordinator.before = close
    stage = fill(coordinator, 20, before=stages.append)
    assert coordinator.log_end == 11
    assert coordinator.stage in {"CompleteCommit", "Empty"}
    assert stage.copy.drained


def test_the_sequence_of_batches_is_left_alone() -> None:
    """Markers of another producer: a leader that knew nothing of ours still takes the log end as first sequence."""
    stage = fill(Coordinator(), 5)
    copy = stage.copy
    assert copy.appender._sequence == 5
    copy.closed()
    copy.opened(1, 15, None, -1)
    copy.enqueue(Fill(15, 3, Gap.HOLE))
    copy.filled(18, None)
    assert copy.appender._sequence == 18
    assert not copy.appender._known
