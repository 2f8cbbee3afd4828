"""Translated, re-encoded and applied to an empty log, any source log gives what a slow model of it shows.

The destination here is a list: an Append must land at its end, a Fill takes offsets that nobody sees.
"""

from collections import deque

from hypothesis import given
from hypothesis import strategies as st

from kmirror.engine.coalesce import MERGED_BYTES, take
from kmirror.engine.reencode import reencode
from kmirror.engine.steps import Append, Fill, Reencode, Stop
from kmirror.engine.translate import translate
from kmirror.wire import batch as wire
from support.source_log import RECORD, SourceLog, seeded_log, source_logs

Visible = dict[int, wire.Record]


class EmptyLog:
    """A destination that appends at its end alone, as a broker does; batches are stamped and read back."""

    def __init__(self, start: int) -> None:
        self.end = start
        self.visible: Visible = {}
        self._sequence = 0

    def apply(self, step: Append | Fill) -> None:
        assert step.base == self.end, (step.base, self.end)
        assert step.count > 0
        if isinstance(step, Append):
            data = memoryview(bytearray(step.batch))
            wire.stamp(data, 4711, 0, self._sequence)
            header = wire.header(data)
            assert header.dense, "a broker takes no holes"
            assert header.base_offset == 0
            assert not header.attributes & ~wire.COMPRESSION, "neither transactional, control nor log append time"
            assert wire.is_intact(data)
            assert header.record_count == step.count
            assert header.max_timestamp == step.max_timestamp
            records = wire.decode(data)
            assert [r.offset for r in records] == list(range(step.count))
            for record in records:
                self.visible[self.end + record.offset] = record._replace(offset=self.end + record.offset)
            self._sequence += step.count
        self.end += step.count


def mirror(log: SourceLog, start: int, sizes: list[int], merged_bytes: int) -> EmptyLog:
    """Fetches with these sizes in turn, each from where the last one's steps ended."""
    destination = EmptyLog(start)
    turn = 0
    while True:
        data, aborted = log.fetch(destination.end, sizes[turn % len(sizes)])
        turn += 1
        queue: deque[Append | Fill] = deque()
        for step in translate(memoryview(data), destination.end, aborted):
            assert not isinstance(step, Stop), step
            queue.extend(reencode(step) if isinstance(step, Reencode) else [step])
        if not queue:
            return destination
        while queue:
            if isinstance(queue[0], Fill):
                destination.apply(queue.popleft())
                continue
            held = sum(step.size for step in queue)
            step, size = take(queue, merged_bytes)
            assert held - size == sum(step.size for step in queue)
            destination.apply(step)


def shown(log: SourceLog, start: int) -> Visible:
    """What a read_committed reader sees from `start` on, batch by batch, by kafka-python's reader."""
    out = {}
    for entry in log.entries:
        for record in wire.decode(memoryview(entry.data)):
            if record.offset >= start and log.slots[record.offset][0] == RECORD:
                out[record.offset] = record
    return out


def assert_mirrored(log: SourceLog, start: int, sizes: list[int], merged_bytes: int) -> None:
    found = mirror(log, start, sizes, merged_bytes)
    assert found.visible == shown(log, start)
    values = {offset: value for offset, (kind, value) in enumerate(log.slots) if kind == RECORD and offset >= start}
    assert {offset: record.value for offset, record in found.visible.items()} == values
    last = max((entry.last + 1 for entry in log.entries), default=0)
    assert found.end == max(start, last), "every offset is taken, visible or not"


@given(
    source_logs(),
    st.data(),
    st.lists(st.integers(1, 2000), min_size=1, max_size=4),
    st.sampled_from([0, 200, 500, MERGED_BYTES]),
)
def test_any_log_any_fetches_any_start(
    log: SourceLog, data: st.DataObject, sizes: list[int], merged_bytes: int
) -> None:
    """Small batches merged or not, and up to any size."""
    assert_mirrored(log, data.draw(st.integers(0, log.end)), sizes, merged_bytes)


def test_long_logs() -> None:
    for seed in range(20):
        log = seeded_log(seed, 200)
        assert_mirrored(log, seed * 7 % log.end, [seed * 50 + 1, 3_000], seed % 3 * 1000)
