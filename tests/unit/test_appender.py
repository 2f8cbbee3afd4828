"""Compare-and-append against a small model of the broker's rule (ProducerStateManager): acks lost, late, refused."""

from collections import deque
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kmirror.engine.appender import SEQUENCES, Appender, Verdict
from kmirror.engine.steps import Append
from kmirror.engine.window import MOST_REQUESTS
from kmirror.wire.producer_state import ProducerState

OUT_OF_ORDER = 45
OLD_EPOCH = 47
AFTER_APPEND = 20
NOT_LEADER = 6
DEPTH = MOST_REQUESTS


def step(base: int, count: int) -> Append:
    return Append(base, count, memoryview(b""), 0, 0)


@dataclass
class Broker:
    """One partition's leader, and the source. `log` holds the source offset of each record: right is log[i] == i."""

    log: list[int]
    last: int | None = None
    epoch: int = 0
    gaps: int = 0
    """What the source has: a bit for each offset that holds no record. A compaction makes more."""
    token: int = 0
    """Of the run that took the link last."""
    recent: deque[tuple[int, int, int]] = field(default_factory=lambda: deque(maxlen=5))

    @property
    def state(self) -> ProducerState | None:
        return None if self.last is None else ProducerState(self.epoch, self.last)

    def append(self, epoch: int, sequence: int, sent: Append) -> tuple[int, int]:
        """(error, base offset)."""
        end = (sequence + sent.count - 1) % SEQUENCES
        if self.last is not None and epoch != self.epoch:
            return OLD_EPOCH if epoch < self.epoch else OUT_OF_ORDER, -1
        for first, last, base in self.recent:
            if (first, last) == (sequence, end):
                return 0, base
        if self.last is not None and sequence != (self.last + 1) % SEQUENCES:
            return OUT_OF_ORDER, -1
        self.epoch = epoch
        base = len(self.log)
        self.log += range(sent.base, sent.end)
        self.last = end
        self.recent.append((sequence, end, base))
        return 0, base

    def is_gap(self, offset: int) -> bool:
        return bool(self.gaps >> offset & 1)

    def mark(self, epoch: int) -> None:
        """A control marker: it takes an offset and no sequence, and makes its producer known with its epoch."""
        assert self.last is None or epoch >= self.epoch
        self.log.append(len(self.log))
        if self.last is None or epoch > self.epoch:
            self.last, self.epoch = -1, epoch
            self.recent.clear()


class Runner:
    """An appender with its connection. What it sends waits in `wire` until the broker takes it.

    `gaps` is the source as this run has read it: another run may have read it before a compaction, or after.
    """

    def __init__(self, broker: Broker, *, by_transactions: bool = False) -> None:
        self.broker = broker
        self.by_transactions = by_transactions
        self.fenced_by = -1
        self.appender = Appender()
        self.wire: deque[tuple[int, int, Append]] = deque()
        self.answers: deque[tuple[int, int]] = deque()
        self.lost = False
        self.token = -1
        self.take_over()

    def take_over(self) -> None:
        self.broker.token += 1
        self.token = self.broker.token
        if not self.appender.in_flight:
            self.reopen()

    def reopen(self) -> None:
        if self.broker.epoch > self.token:  # Identity.check finds that a younger run holds the link
            self.token = self.broker.token = self.broker.token + 1
        self.gaps = self.broker.gaps
        self.appender.open(len(self.broker.log), self.broker.state, 0.0)

    def is_gap(self, offset: int) -> bool:
        return bool(self.gaps >> offset & 1)

    def send(self, count: int) -> None:
        """A batch of the records before the next gap. No lease: whoever has lost the link may send."""
        base = self.appender.next_offset
        count = next((i for i in range(count) if self.is_gap(base + i)), count)
        if count and self.appender.may_send(0.0, DEPTH):
            made = step(base, count)
            sequence = self.appender.send(made)
            self.wire.append((self.appender.epoch, sequence, made))

    def mark(self, count: int) -> None:
        """Fills a gap, when nothing is under way. The lease keeps out who has lost the link, or the coordinator.

        By transactions, it is our own marker that takes the first offset with a token, and others take the rest.
        """
        here = self.appender.log_end
        count = next((i for i in range(count) if not self.is_gap(here + i)), count)
        if not count or self.appender.in_flight or self.appender.broken or self.token != self.broker.token:
            return
        if self.lost:  # behind a marker of a new token what is in doubt is refused
            self.lost = False
            self.take_over()
            return
        if here != len(self.broker.log):
            self.reopen()
            return
        if self.by_transactions and self.fenced_by == self.token:
            self.broker.log += range(here, here + count)
            self.appender.filled_by_another(here + count)
            return
        if self.by_transactions:
            count = 1
        for _ in range(count):
            self.broker.mark(self.token)
        self.fenced_by = self.token
        self.appender.filled(here + count, self.token, 0.0)

    def handle(self, fault: int) -> None:
        """The broker takes the next request. `fault`: 1 refused before the append, 2 told as failed after it."""
        if self.wire:
            sent = self.wire.popleft()
            answer = (NOT_LEADER, -1) if fault == 1 else self.broker.append(*sent)
            self.answers.append((AFTER_APPEND, -1) if fault == 2 else answer)

    def settle(self) -> None:
        if self.answers:
            _, verdict = self.appender.settle(*self.answers.popleft(), 0.0)
            assert verdict is not Verdict.MISPLACED
            if verdict is Verdict.COPIED:
                self.lost = False
                assert self.broker.log[: self.appender.log_end] == list(range(self.appender.log_end))
        if self.appender.broken and not self.appender.in_flight:
            self.reopen()

    def lose_connection(self, late: deque[deque[tuple[int, int, Append]]]) -> None:
        """What was sent may still be taken at any later time; no answer comes back."""
        self.lost = True
        late.append(self.wire)
        self.wire, self.answers = deque(), deque()
        while self.appender.in_flight:
            assert self.appender.settle(-1, -1, 0.0)[1] is Verdict.REFUSED
        self.reopen()


ACTIONS = st.tuples(
    st.sampled_from(
        ["send"] * 3
        + ["handle", "settle"] * 2
        + ["mark", "mark", "take over", "compact", "overtake", "lose", "late", "drop"]
    ),
    st.integers(0, 1),
    st.integers(1, 4),
    st.sampled_from([0, 0, 0, 0, 1, 2]),
)


@pytest.mark.parametrize("transactions", [False, True])
@settings(max_examples=300)
@given(
    actions=st.lists(ACTIONS, max_size=80),
    held=st.integers(0, 5),
    known=st.booleans(),
    shift=st.sampled_from([0, 7, SEQUENCES - 6]),
    gaps=st.integers(0, 2**40),
)
def test_no_history_puts_a_batch_at_a_wrong_offset(
    *, transactions: bool, actions: list[tuple[str, int, int, int]], held: int, known: bool, shift: int, gaps: int
) -> None:
    broker = Broker(list(range(held)), gaps=gaps)
    if known and held:  # markers take offsets and no sequence, so the two may differ by any shift
        broker.last = (held - 1 + shift) % SEQUENCES
    late: deque[deque[tuple[int, int, Append]]] = deque()
    runners = [Runner(broker, by_transactions=transactions), Runner(broker, by_transactions=transactions)]
    for action, who, count, fault in actions:
        runner = runners[who]
        if action == "send":
            runner.send(count)
        elif action == "mark":
            runner.mark(count)
        elif action == "handle":
            runner.handle(fault)
        elif action == "settle":
            runner.settle()
        elif action == "take over":
            runner.take_over()
        elif action == "compact":
            broker.gaps |= (1 << count) - 1 << len(broker.log)
        elif action == "overtake":  # the other run finds a gap where this one has read a record
            broker.gaps |= (1 << count) - 1 << len(broker.log)
            runners[1 - who].take_over()
            runners[1 - who].mark(count)
        elif action == "lose":
            runner.lose_connection(late)
        elif late and action == "late" and late[0]:
            broker.append(*late[0].popleft())
        elif late:
            late.popleft()
        assert broker.log == list(range(len(broker.log)))
    _go_on_alone(runners[0], broker)


def _go_on_alone(runner: Runner, broker: Broker) -> None:
    """Whatever happened: one runner left alone copies on, and its log end becomes the broker's."""
    runner.take_over()
    goal = len(broker.log) + 10
    for _ in range(200):
        runner.send(2)
        runner.handle(0)
        runner.settle()
        runner.mark(3)
        if runner.appender.log_end >= goal:
            break
    assert len(broker.log) >= goal
    assert broker.log == list(range(len(broker.log)))


def a_log_of_three() -> tuple[Broker, Runner, Runner]:
    broker = Broker([0, 1, 2], last=2)
    return broker, Runner(broker), Runner(broker)


def test_a_batch_of_an_older_run_is_refused_behind_a_younger_ones_marker() -> None:
    """It holds a record that the source has compacted away before the younger run read there."""
    broker, older, younger = a_log_of_three()
    older.send(1)
    broker.gaps = 0b1000
    younger.take_over()
    younger.mark(1)
    older.handle(0)
    assert older.answers == deque([(OLD_EPOCH, -1)])
    younger.send(1)
    younger.handle(0)
    assert broker.log == [0, 1, 2, 3, 4]


def test_a_batch_of_our_own_in_doubt_is_refused_behind_our_next_marker() -> None:
    broker, _, runner = a_log_of_three()
    late: deque[deque[tuple[int, int, Append]]] = deque()
    broker.gaps = 0b1000
    runner.reopen()
    runner.mark(1)
    runner.send(1)
    broker.gaps = 0b11000
    runner.lose_connection(late)
    runner.mark(1)
    runner.mark(1)
    assert broker.log == [0, 1, 2, 3, 4]
    assert broker.append(*late[0].popleft()) == (OLD_EPOCH, -1)


def test_an_older_run_does_not_go_on_behind_a_younger_ones_marker() -> None:
    """Else its batches had the younger run's epoch, and the next marker would not refuse them."""
    broker, older, younger = a_log_of_three()
    broker.gaps = 0b1000
    younger.take_over()
    younger.mark(1)
    older.reopen()
    older.send(1)
    broker.gaps = 0b11000
    younger.reopen()
    younger.mark(1)
    older.handle(0)
    assert broker.log == list(range(len(broker.log)))


def test_the_model_refuses_what_the_broker_refuses() -> None:
    broker = Broker([])
    assert broker.append(0, 0, step(0, 2)) == (0, 0)
    assert broker.append(0, 0, step(0, 2)) == (0, 0)
    assert broker.append(0, 0, step(0, 3)) == (OUT_OF_ORDER, -1)
    assert broker.append(0, 3, step(2, 1)) == (OUT_OF_ORDER, -1)
    broker.mark(0)
    assert broker.append(0, 2, step(3, 1)) == (0, 3)
    broker.mark(4)
    assert broker.append(0, 3, step(5, 1)) == (OLD_EPOCH, -1)
    assert broker.append(4, 3, step(5, 1)) == (OUT_OF_ORDER, -1)
    assert broker.append(4, 0, step(5, 1)) == (0, 5)


@pytest.mark.parametrize(
    ("log_end", "last", "first"),
    [(0, None, 0), (5, None, 5), (SEQUENCES + 3, None, 3), (5, 9, 10), (5, SEQUENCES - 1, 0), (5, 0, 1), (5, -1, 0)],
)
def test_the_first_sequence(log_end: int, last: int | None, first: int) -> None:
    appender = Appender()
    appender.open(log_end, None if last is None else ProducerState(3, last), 0.0)
    assert appender.epoch == (0 if last is None else 3)
    assert appender.send(step(log_end, 1)) == first


@pytest.mark.parametrize(
    ("last", "epoch", "first"), [(None, 0, 0), (None, 2, 0), (-1, 0, 0), (9, 0, 10), (9, 2, 0), (-1, 2, 0)]
)
def test_the_first_sequence_behind_a_marker(last: int | None, epoch: int, first: int) -> None:
    """A leader that knew nothing of the producer with that epoch knows it by the marker, and takes 0 alone."""
    appender = opened(last)
    appender.filled(12, epoch, 0.0)
    assert appender.epoch == epoch
    assert appender.send(step(12, 1)) == first
    assert appender.may_send(0.0, DEPTH)


def test_no_marker_no_other_epoch() -> None:
    appender = opened()
    appender.filled(10, 2, 0.0)
    assert (appender.epoch, appender.send(step(10, 1))) == (0, 10)


def test_sequences_wrap() -> None:
    appender = Appender()
    appender.open(100, ProducerState(0, SEQUENCES - 4), 0.0)
    assert appender.send(step(100, 5)) == SEQUENCES - 3
    assert appender.send(step(105, 1)) == 2


def opened(last: int | None = 9) -> Appender:
    appender = Appender()
    appender.open(10, None if last is None else ProducerState(0, last), 0.0)
    return appender


def test_depth_is_one_until_the_broker_is_known_to_remember() -> None:
    appender = opened(None)
    assert appender.may_send(0.0, DEPTH)
    appender.send(step(10, 1))
    assert not appender.may_send(0.0, DEPTH)
    assert appender.settle(0, 10, 1.0)[1] is Verdict.COPIED
    for base in range(11, 11 + DEPTH):
        assert appender.may_send(1.0, DEPTH)
        appender.send(step(base, 1))
    assert not appender.may_send(1.0, DEPTH)


def test_depth_is_one_again_after_a_long_silence() -> None:
    appender = opened()
    appender.send(step(10, 1))
    assert appender.may_send(3599.0, DEPTH)
    assert not appender.may_send(3600.0, DEPTH)
    appender.settle(0, 10, 3600.0)
    appender.send(step(11, 1))
    assert appender.may_send(3601.0, DEPTH)


def test_all_behind_a_failure_is_refused_even_if_acked() -> None:
    appender = opened()
    for base in (10, 11, 12):
        appender.send(step(base, 1))
    assert appender.settle(0, 10, 0.0)[1] is Verdict.COPIED
    assert appender.settle(OUT_OF_ORDER, -1, 0.0)[1] is Verdict.REFUSED
    assert not appender.may_send(0.0, DEPTH)
    assert appender.settle(0, 12, 0.0)[1] is Verdict.REFUSED
    assert appender.log_end == 11
    assert not appender.in_flight


def test_an_ack_at_another_offset_is_misplaced() -> None:
    appender = opened()
    appender.send(step(10, 1))
    appender.send(step(11, 1))
    sent, verdict = appender.settle(0, 11, 0.0)
    assert (sent.base, verdict) == (10, Verdict.MISPLACED)
    assert appender.settle(0, 12, 0.0)[1] is Verdict.REFUSED
    assert appender.log_end == 10


def test_a_step_out_of_turn_is_a_fault_of_ours() -> None:
    with pytest.raises(AssertionError):
        opened().send(step(11, 1))


def test_opening_with_batches_in_flight_is_a_fault_of_ours() -> None:
    appender = opened()
    appender.send(step(10, 1))
    with pytest.raises(AssertionError):
        appender.open(10, ProducerState(0, 9), 0.0)
