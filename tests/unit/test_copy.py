"""One partition's queue, limits and trouble; the budget counts exactly what is held."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmirror.engine import copy as copy_module
from kmirror.engine.appender import Verdict
from kmirror.engine.budget import Budget
from kmirror.engine.coalesce import MERGED_BYTES
from kmirror.engine.copy import PartitionCopy, refused_gap
from kmirror.engine.steps import Append, Fill, Gap, Stop
from kmirror.errors import AuthorizationFailed, ClusterError
from kmirror.model.failures import Failure
from kmirror.model.mirror import Mirror, MirrorError
from kmirror.model.states import MirrorState
from kmirror.model.status import PartitionState
from kmirror.wire.producer_state import ProducerState
from kmirror.wire.topic_id import topic_id_bytes, topic_id_text
from support.batches import dense

TOPIC_ID = topic_id_text(bytes(range(16)))


def step(base: int, count: int, size: int = 10, at: int = 1000) -> Append:
    return Append(base, count, memoryview(bytes(size)), at, at)


def made(budget: Budget | None = None, log_end: int = 0) -> PartitionCopy:
    mirror = Mirror("t", "s", TOPIC_ID, TOPIC_ID, 3, MirrorState.ACTIVE, 1)
    copy = PartitionCopy(mirror, 1, budget or Budget(1 << 20))
    copy.opened(4, log_end, ProducerState(0, log_end - 1) if log_end else None, -1)
    return copy


def enqueue(copy: PartitionCopy, budget: Budget, item: Append) -> None:
    budget.adjust(0, len(item.batch))
    copy.enqueue(item)


def run(base: int, batches: int) -> Append:
    """So many batches of two records each."""
    data = memoryview(bytearray().join(dense(base + 2 * number, 2) for number in range(batches)))
    return Append(base, 2 * batches, data, 1000, 1000, batches)


@pytest.mark.parametrize("limit", range(9))
def test_a_run_is_cut_between_its_batches(limit: int) -> None:
    """The target of a promote."""
    budget = Budget(1 << 20)
    copy = made(budget)
    enqueue(copy, budget, run(0, 4))
    copy.cut_at(limit)
    copied = 0
    while copy.next_step():
        copied = copy.take().end
    assert copied == copy.position == (limit + 1) // 2 * 2
    assert copy.queued_bytes == 0


ACTIONS = st.tuples(
    st.sampled_from(["fetch", "fetch", "send", "ack", "refuse", "cut", "close"]), st.integers(1, 5), st.integers(1, 90)
)


@given(st.lists(ACTIONS, max_size=60))
def test_the_budget_holds_what_is_queued_and_in_flight(actions: list[tuple[str, int, int]]) -> None:
    budget = Budget(1 << 20)
    copy = made(budget)
    end = 0
    for action, count, size in actions:
        if action == "fetch" and copy.wants_fetch(time.monotonic(), 200):
            enqueue(copy, budget, step(copy.position, count, size))
        elif action == "send" and copy.next_step() and copy.appender.may_send(time.monotonic(), 5):
            copy.appender.send(copy.take())
        elif action in {"ack", "refuse"} and copy.appender.in_flight:
            base = copy.appender.in_flight[0].base
            settled, verdict = copy.appender.settle(6 if action == "refuse" else 0, base, time.monotonic())
            budget.release(len(settled.batch))
            if verdict is Verdict.COPIED:
                copy.copied(settled)
                end = settled.end
        elif action == "cut":
            copy.cut_at(copy.position - count)
        elif action == "close":
            copy.closed()
        if (copy.appender.broken or not copy.is_open) and not copy.appender.in_flight:
            copy.closed()
            copy.opened(4, end, ProducerState(0, end - 1) if end else None, -1)
            copy.limit = None
        flying = sum(len(step.batch) for step in copy.appender.in_flight)
        assert budget.held == copy.queued_bytes + flying
        assert copy.drained == (budget.held == 0)
        assert copy.appender.log_end == end


def test_a_fetch_is_wanted_while_there_is_room() -> None:
    budget = Budget(1000)
    copy = made(budget, 5)
    assert copy.wants_fetch(0.0, 100)
    enqueue(copy, budget, step(5, 3, 99))
    assert copy.wants_fetch(0.0, 100)
    enqueue(copy, budget, step(8, 1, 1))
    assert copy.position == 9
    assert not copy.wants_fetch(0.0, 100)
    copy.take()
    copy.retry_fetch_at = 7.0
    assert not copy.wants_fetch(6.9, 100)
    assert copy.wants_fetch(7.0, 100)
    copy.ending = Stop(9, "CORRUPT_BATCH", "x")
    assert not copy.wants_fetch(7.0, 100)
    copy.ending = None
    copy.closed()
    assert not copy.wants_fetch(7.0, 100)


def test_a_limit_cuts_what_is_queued_and_is_reached_when_all_is_acked() -> None:
    budget = Budget(1000)
    copy = made(budget)
    for base in (0, 2, 4, 6):
        enqueue(copy, budget, step(base, 2))
    copy.cut_at(4)
    assert (copy.position, copy.queued_bytes, budget.held) == (4, 20, 20)
    assert not copy.wants_fetch(0.0, 100)
    for base in (0, 2):
        assert not copy.at_limit
        copy.appender.send(copy.take())
        copy.appender.settle(0, base, 0.0)
    assert copy.at_limit
    copy.closed()
    assert not copy.at_limit


def test_closing_drops_the_queue_and_marks_fetches_under_way_as_old() -> None:
    budget = Budget(1000)
    copy = made(budget)
    enqueue(copy, budget, step(0, 2))
    enqueue(copy, budget, step(2, 2))
    copy.appender.send(copy.take())
    generation = copy.generation
    copy.ending = Stop(4, "CORRUPT_BATCH", "x")
    copy.closed()
    assert copy.generation == generation + 1
    assert (copy.next_step(), copy.ending, budget.held) == (None, None, 10)
    assert copy.position == 2
    assert not copy.drained


def test_trouble_is_shown_once_it_lasts(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [10_000]
    monkeypatch.setattr(copy_module, "now_ms", lambda: clock[0])
    copy = made()
    assert copy.status(None).state is PartitionState.COPYING
    copy.in_trouble(ClusterError("gone", code="X"), at_source=True)
    clock[0] += 1999
    copy.in_trouble(ClusterError("still gone", code="Y"), at_source=True)
    assert copy.status(None).trouble is None
    clock[0] += 1
    shown = copy.status(None)
    assert shown.state is PartitionState.SOURCE_UNAVAILABLE
    assert shown.trouble
    assert (shown.trouble.message, shown.trouble.since_ms, shown.trouble.code) == ("still gone", 10_000, "Y")
    copy.in_trouble(ClusterError("west"), at_source=False)
    clock[0] += 2000
    assert copy.status(None).state is PartitionState.DESTINATION_UNAVAILABLE
    copy.opened(4, 0, None, -1)
    copy.source_seen(0)
    assert copy.status(None).state is PartitionState.COPYING


def test_an_error_is_shown_where_it_belongs() -> None:
    copy = made()
    assert copy.status(MirrorError("C", "m", 1, 5)).state is PartitionState.FAILED
    assert copy.status(MirrorError("C", "m")).state is PartitionState.FAILED
    assert copy.status(MirrorError("C", "m", 2, 5)).error is None


def test_lag_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [1_700_000_000_000]
    monkeypatch.setattr(copy_module, "now_ms", lambda: clock[0])
    budget = Budget(1000)
    copy = made(budget)
    assert copy.lag_ms() is None
    copy.source_seen(0)
    assert copy.lag_ms() == 0
    clock[0] += 2_000
    copy.source_seen(5)
    assert copy.lag_ms() == 2000  # it may have come as soon as the source was asked before
    enqueue(copy, budget, step(0, 5, at=clock[0] - 500))
    assert copy.lag_ms() == 500
    copy.appender.send(copy.take())
    assert copy.lag_ms() == 500  # what is on its way is not yet copied
    clock[0] += 100
    assert copy.lag_ms() == 600
    sent, _ = copy.appender.settle(0, 0, 0.0)
    copy.copied(sent)
    assert copy.lag_ms() == 0
    clock[0] += 3_600_000  # an hour without a record
    copy.source_seen(5, clock[0] - 500)
    assert copy.lag_ms() == 0
    clock[0] += 10
    copy.source_seen(6, clock[0] - 10)
    assert copy.lag_ms() == 510  # since the question before, whatever the last record's timestamp says
    clock[0] += 60_000  # the source can't be asked any more
    assert copy.lag_ms() == 60_510


def test_gaps_are_joined_and_filled_from_the_front() -> None:
    copy = made()
    copy.enqueue(Fill(0, 3, Gap.ABORTED))
    copy.enqueue(Fill(3, 1, Gap.MARKER))
    gap = copy.next_step()
    assert isinstance(gap, Fill)
    assert (gap.base, gap.count, copy.position) == (0, 4, 4)
    copy.marking = True
    assert copy.busy
    copy.filled(3, 0)
    gap = copy.next_step()
    assert isinstance(gap, Fill)
    assert (gap.base, gap.count, copy.busy, copy.appender.log_end) == (3, 1, False, 3)
    copy.filled(4, 0)
    assert (copy.next_step(), copy.drained, copy.appender.next_offset) == (None, True, 4)


def test_a_refused_gap_says_where_and_what_to_grant() -> None:
    copy = made(log_end=5)
    copy.enqueue(Fill(5, 1, Gap.MARKER))
    found = refused_gap(copy)
    assert (found.code, found.offset) == (Failure.GAP_NOT_FILLABLE, 5)
    assert Gap.MARKER in found.message
    assert "ALTER" in found.message


@given(st.binary(min_size=16, max_size=16))
def test_topic_ids(data: bytes) -> None:
    text = topic_id_text(data)
    assert len(text) == 22
    assert topic_id_bytes(text) == data
    assert topic_id_bytes(text.replace("-", "+").replace("_", "/") + "==") == data or "-" in text or "_" in text


def test_small_batches_are_taken_together_and_less_of_them_after_a_refusal() -> None:
    budget = Budget(1 << 20)
    copy = made(budget)
    copy.merged_bytes = 1000
    for base in range(0, 60, 3):
        batch = memoryview(bytearray(dense(base, 3)))
        enqueue(copy, budget, Append(base, 3, batch, 1, 2))
    together = 1150 // (len(dense(57, 3)) + 3 * 8)  # a record may become so much longer
    assert copy.next_bytes == 1000
    step = copy.take()
    assert (step.base, step.count, step.source_batches) == (0, 3 * together, together)
    assert budget.held == copy.queued_bytes + step.size
    copy.copied(step)
    assert (copy.counters.batches, copy.counters.appends, copy.counters.records) == (together, 1, 3 * together)
    while step.source_batches > 1:
        budget.release(step.size)
        before = step.source_batches
        copy.merge_less(step)
        step = copy.take()
        assert step.source_batches <= max(1, before // 2)
    assert step.size == len(dense(step.base, 3))
    copy.cut_at(54)  # what waits is still apart
    assert copy.position == 54


def test_of_small_batches_is_asked_for_what_makes_whole_merged_ones() -> None:
    copy = made()
    copy.merged_bytes = MERGED_BYTES
    assert copy.bytes_to_fetch(1 << 20, 8 << 20) == 1 << 20
    copy.small = True
    assert copy.bytes_to_fetch(1 << 20, 8 << 20) == MERGED_BYTES
    assert copy.bytes_to_fetch(4 << 20, 8 << 20) == 4 * MERGED_BYTES
    assert copy.bytes_to_fetch(1000, 8 << 20) == 1000
    copy.fetch_bytes = 2 << 20
    assert copy.bytes_to_fetch(1 << 20, 8 << 20) == 2 << 20, "the next batch is so large"
    copy.fetch_bytes = copy.merged_bytes = 0
    assert copy.bytes_to_fetch(1 << 20, 8 << 20) == 1 << 20, "merging is off"
    copy.piped = True
    assert copy.bytes_to_fetch(1 << 20, 8 << 20) == 8 << 20


def test_a_write_that_is_denied_is_told_until_a_batch_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Opening goes well each time; it is no sign that the right is there."""
    now = [1_000]
    monkeypatch.setattr(copy_module, "now_ms", lambda: now[0])
    copy = made()
    copy.in_trouble(AuthorizationFailed("denied", hint="Grant it.", code="AUTHORIZATION_ERROR"), at_source=False)
    copy.write_denied = True
    copy.closed()
    copy.opened(4, 0, None, -1)
    now[0] += 5_000
    shown = copy.status(None).trouble
    assert shown is not None
    assert (shown.message, shown.since_ms) == ("denied. Grant it.", 1_000)
    copy.copied(step(0, 1))
    assert copy.status(None).trouble is None
