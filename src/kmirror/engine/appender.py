"""One partition's compare-and-append: contiguous sequences of one stable producer id, every ack checked. No I/O.

The broker appends a batch only if its sequence follows the last one (ProducerAppendInfo), so a batch that arrives late
or twice, from us or from another runner of the link, can't take an offset. The ack's base offset must be the source's.
A marker has no sequence, but an epoch: behind the first one of a run all batches that an older run sent are refused.
"""

from enum import Enum, auto
from typing import Final

from kmirror.engine.steps import Append
from kmirror.wire.errors import NONE
from kmirror.wire.producer_state import ProducerState

SEQUENCES: Final = 1 << 31
FIRST_EPOCH: Final = 0
"""Of batches, where the leader knows nothing of the producer: the same for all runs."""
_STATE_MAY_BE_GONE_S: Final = 3600.0  # brokers forget an idle producer after a day (producer.id.expiration.ms)


class Verdict(Enum):
    COPIED = auto()
    """The batch is where it belongs."""
    REFUSED = auto()
    """The answer carries an error, or what was sent before this batch failed: drain, then open again."""
    MISPLACED = auto()
    """Appended at another offset: somebody else writes to the topic."""


class Appender:
    """`log_end`: everything below is confirmed. `next_offset`: where the next batch must land."""

    def __init__(self) -> None:
        self.log_end = 0
        self.next_offset = 0
        self.in_flight: list[Append] = []  # a dozen at most, and an empty deque takes 600 bytes
        self.broken = False
        self.epoch = FIRST_EPOCH
        self._sequence = 0
        self._known = False
        self._last_ack_s = 0.0

    def open(self, log_end: int, state: ProducerState | None, now_s: float) -> None:
        """Starts from what the leader says. Without producer state (None) the first sequence is the log end itself, so
        that two runners choose the same; where it knows markers of ours alone (-1) it is 0.
        """
        assert not self.in_flight
        self.log_end = self.next_offset = log_end
        self.epoch = state.epoch if state else FIRST_EPOCH
        self._sequence = (state.last_sequence + 1 if state else log_end) % SEQUENCES
        self._known = state is not None
        self._last_ack_s = now_s
        self.broken = False

    def may_send(self, now_s: float, depth: int) -> bool:
        """A leader that has no state of ours takes any sequence: then only one batch may be under way, lest the
        second be taken when the first is refused.
        """
        if self.broken:
            return False
        sure = self._known and not self.is_stale(now_s)
        return len(self.in_flight) < (depth if sure else 1)

    def is_stale(self, now_s: float) -> bool:
        """So long without an append that the broker may have forgotten our producer id."""
        return now_s - self._last_ack_s >= _STATE_MAY_BE_GONE_S

    def send(self, step: Append) -> int:
        """The sequence for `step`, which is in flight from now on; its base must be `next_offset`."""
        assert step.base == self.next_offset, (step.base, self.next_offset)
        sequence = self._sequence
        self.in_flight.append(step)
        self.next_offset = step.end
        self._sequence = (sequence + step.count) % SEQUENCES
        return sequence

    def filled(self, log_end: int, epoch: int, now_s: float) -> None:
        """Markers of that producer epoch took the offsets up to `log_end`: they have no sequence.

        Where the leader did not know our producer with that epoch, it takes sequence 0 behind the first of them.
        """
        assert not self.in_flight
        if log_end > self.log_end and (not self._known or epoch != self.epoch):
            self.epoch = epoch
            self._sequence = 0
            self._known = True
        self.log_end = self.next_offset = log_end
        self._last_ack_s = now_s

    def filled_by_another(self, log_end: int) -> None:
        """Markers of another producer id took the offsets: what the leader knows, or forgets, of ours is as it was."""
        assert not self.in_flight
        if not self._known:
            self._sequence = log_end % SEQUENCES
        self.log_end = self.next_offset = log_end

    def settle(self, error: int, base_offset: int, now_s: float) -> tuple[Append, Verdict]:
        """The answer for the oldest batch in flight. A deduplicated one carries its old offset: the right one."""
        step = self.in_flight.pop(0)
        if self.broken or error != NONE:
            self.broken = True
            return step, Verdict.REFUSED
        if base_offset != step.base:
            self.broken = True
            return step, Verdict.MISPLACED
        self.log_end = step.end
        self._known = True
        self._last_ack_s = now_s
        return step, Verdict.COPIED
