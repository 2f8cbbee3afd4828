"""Compare-and-append against a small model of the broker's rule (ProducerStateManager): acks lost, late, refused."""

from collections import deque
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kmirror.engine.appender import SEQUENCES, Appender, Verdict
from kmirror.engine.steps import Append

OUT_OF_ORDER = 45
AFTER_APPEND = 20
NOT_LEADER = 6
DEPTH = 5


def step(base: int, count: int) -> Append:
    return Append(base, count, memoryview(b""), 0, 0)


@dataclass
class Broker:
    """One partition's leader. `log` holds the source offset of each record: right is log[i] == i."""

    log: list[int]
    last: int | None = None
    gaps: int = 0
    """What the source has: a bit for each offset that holds no record, the same for every runner."""
    recent: deque[tuple[int, int, int]] = field(default_factory=lambda: deque(maxlen=5))

    def append(self, sequence: int, sent: Append) -> tuple[int, int]:
        """(error, base offset)."""
        end = (sequence + sent.count - 1) % SEQUENCES
        for first, last, base in self.recent:
            if (first, last) == (sequence, end):
                return 0, base
        if self.last is not None and sequence != (self.last + 1) % SEQUENCES:
            return OUT_OF_ORDER, -1
        base = len(self.log)
        self.log += range(sent.base, sent.end)
        self.last = end
        self.recent.append((sequence, end, base))
        return 0, base

    def is_gap(self, offset: int) -> bool:
        return bool(self.gaps >> offset & 1)

    def mark(self) -> None:
        """A control marker: it takes an offset and no sequence, and makes its producer known."""
        self.log.append(len(self.log))
        if self.last is None:
            self.last = -1


class Runner:
    """An appender with its connection. What it sends waits in `wire` until the broker takes it."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self.appender = Appender()
        self.wire: deque[tuple[int, Append]] = deque()
        self.answers: deque[tuple[int, int]] = deque()
        self.reopen()

    def reopen(self) -> None:
        self.appender.open(len(self.broker.log), self.broker.last, 0.0)

    def send(self, count: int) -> None:
        """A batch of the records before the next gap."""
        base = self.appender.next_offset
        count = next((i for i in range(count) if self.broker.is_gap(base + i)), count)
        if count and self.appender.may_send(0.0, DEPTH):
            made = step(base, count)
            self.wire.append((self.appender.send(made), made))

    def mark(self, count: int) -> None:
        """Fills a gap, when nothing is under way. The lease keeps out who does not know of another's markers."""
        here = self.appender.log_end
        count = next((i for i in range(count) if not self.broker.is_gap(here + i)), count)
        if not count or self.appender.in_flight or self.appender.broken:
            return
        if here != len(self.broker.log):
            self.reopen()
            return
        for _ in range(count):
            self.broker.mark()
        self.appender.filled(here + count, 0.0)

    def handle(self, fault: int) -> None:
        """The broker takes the next request. `fault`: 1 refused before the append, 2 told as failed after it."""
        if self.wire:
            sequence, made = self.wire.popleft()
            answer = (NOT_LEADER, -1) if fault == 1 else self.broker.append(sequence, made)
            self.answers.append((AFTER_APPEND, -1) if fault == 2 else answer)

    def settle(self) -> None:
        if self.answers:
            _, verdict = self.appender.settle(*self.answers.popleft(), 0.0)
            assert verdict is not Verdict.MISPLACED
            if verdict is Verdict.COPIED:
                assert self.broker.log[: self.appender.log_end] == list(range(self.appender.log_end))
        if self.appender.broken and not self.appender.in_flight:
            self.reopen()

    def lose_connection(self, late: deque[deque[tuple[int, Append]]]) -> None:
        """What was sent may still be taken at any later time; no answer comes back."""
        late.append(self.wire)
        self.wire, self.answers = deque(), deque()
        while self.appender.in_flight:
            assert self.appender.settle(-1, -1, 0.0)[1] is Verdict.REFUSED
        self.reopen()


ACTIONS = st.tuples(
    st.sampled_from(["send", "send", "send", "handle", "handle", "settle", "settle", "mark", "lose", "late", "drop"]),
    st.integers(0, 1),
    st.integers(1, 4),
    st.sampled_from([0, 0, 0, 0, 1, 2]),
)


@settings(max_examples=300)
@given(
    st.lists(ACTIONS, max_size=80),
    st.integers(0, 5),
    st.booleans(),
    st.sampled_from([0, 7, SEQUENCES - 6]),
    st.integers(0, 2**40),
)
def test_no_history_puts_a_batch_at_a_wrong_offset(
    actions: list[tuple[str, int, int, int]], held: int, known: bool, shift: int, gaps: int
) -> None:
    broker = Broker(list(range(held)), gaps=gaps)
    if known and held:  # markers take offsets and no sequence, so the two may differ by any shift
        broker.last = (held - 1 + shift) % SEQUENCES
    late: deque[deque[tuple[int, Append]]] = deque()
    runners = [Runner(broker), Runner(broker)]
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


def test_the_model_refuses_what_the_broker_refuses() -> None:
    broker = Broker([])
    assert broker.append(0, step(0, 2)) == (0, 0)
    assert broker.append(0, step(0, 2)) == (0, 0)
    assert broker.append(0, step(0, 3)) == (OUT_OF_ORDER, -1)
    assert broker.append(3, step(2, 1)) == (OUT_OF_ORDER, -1)
    assert broker.append(2, step(2, 1)) == (0, 2)


@pytest.mark.parametrize(
    ("log_end", "last", "first"),
    [(0, None, 0), (5, None, 5), (SEQUENCES + 3, None, 3), (5, 9, 10), (5, SEQUENCES - 1, 0), (5, 0, 1), (5, -1, 0)],
)
def test_the_first_sequence(log_end: int, last: int | None, first: int) -> None:
    appender = Appender()
    appender.open(log_end, last, 0.0)
    assert appender.send(step(log_end, 1)) == first


@pytest.mark.parametrize(("last", "first"), [(None, 0), (-1, 0), (9, 10)])
def test_the_first_sequence_behind_a_marker(last: int | None, first: int) -> None:
    """A leader that knew nothing of the producer knows it by the marker, and takes 0 alone."""
    appender = opened(last)
    appender.filled(12, 0.0)
    assert appender.send(step(12, 1)) == first
    assert appender.may_send(0.0, DEPTH)


def test_sequences_wrap() -> None:
    appender = Appender()
    appender.open(100, SEQUENCES - 4, 0.0)
    assert appender.send(step(100, 5)) == SEQUENCES - 3
    assert appender.send(step(105, 1)) == 2


def opened(last: int | None = 9) -> Appender:
    appender = Appender()
    appender.open(10, last, 0.0)
    return appender


def test_depth_is_one_until_the_broker_is_known_to_remember() -> None:
    appender = opened(None)
    assert appender.may_send(0.0, DEPTH)
    appender.send(step(10, 1))
    assert not appender.may_send(0.0, DEPTH)
    assert appender.settle(0, 10, 1.0)[1] is Verdict.COPIED
    for base in range(11, 16):
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
    assert (sent.step.base, verdict) == (10, Verdict.MISPLACED)
    assert appender.settle(0, 12, 0.0)[1] is Verdict.REFUSED
    assert appender.log_end == 10


def test_a_step_out_of_turn_is_a_fault_of_ours() -> None:
    with pytest.raises(AssertionError):
        opened().send(step(11, 1))


def test_opening_with_batches_in_flight_is_a_fault_of_ours() -> None:
    appender = opened()
    appender.send(step(10, 1))
    with pytest.raises(AssertionError):
        appender.open(10, 9, 0.0)
