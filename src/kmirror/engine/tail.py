"""The tail check: does the destination's log end as the source has it? Pure comparison of batches.

A write by somebody else while no runner ran can't be seen from the log end alone. A foreign record is always the last
one then, because the next append of ours would be refused or misplaced: so one batch of the destination is enough.
"""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from kmirror.engine.steps import Append, Fill, Gap, Reencode, Step
from kmirror.wire import batch as wire
from kmirror.wire.records import RawRecord, read_body, records_of

_PARTS: Final = ("timestamp", "key", "value", "headers")


@dataclass(frozen=True, slots=True)
class Difference:
    """The first offset at which both sides differ."""

    offset: int
    what: str


@dataclass(frozen=True, slots=True)
class SourceView:
    """Some offsets of the source as its readers see them: the batches, records by offset, and what holds none."""

    batches: Sequence[memoryview]
    steps: Sequence[Step]

    def epoch_before(self, end: int) -> int:
        """The leader epoch of the last batch that begins before `end`; -1 below message format v2."""
        held = [batch for batch in self.batches if wire.base_offset(batch) < end]
        return wire.header(held[-1]).leader_epoch if held and held[-1][wire.MAGIC_AT] == 2 else -1

    def records(self) -> dict[int, RawRecord]:
        """Raises ValueError for bytes that can't be read."""
        out = {}
        for step in self.steps:
            if isinstance(step, Append | Reencode):
                span = range(step.base, step.base + step.count)
                out.update({record.offset: record for record in records_of(step.batch) if record.offset in span})
        return out

    def hidden(self) -> Iterator[range]:
        """Offsets that never held a visible record: markers, and records of aborted transactions."""
        for step in self.steps:
            if isinstance(step, Fill) and step.gap is not Gap.HOLE:
                yield range(step.base, step.end)


def compare_tail(destination: Sequence[memoryview], source: SourceView, adopted_end: int = 0) -> Difference | None:
    """Compares the last batches of the destination with the source over the same offsets.

    A record that the source does not hold any more (compaction, retention) can't be compared and passes. So does,
    below `adopted_end`, a transaction's record that the source does not show: clients wrote it there and aborted it.
    Raises ValueError for bytes that can't be read.
    """
    try:
        return _compare(destination, source, adopted_end)
    except struct.error as e:
        raise ValueError(f"a batch shorter than its header: {e}") from e


def _compare(destination: Sequence[memoryview], source: SourceView, adopted_end: int) -> Difference | None:
    current = [b for b in source.batches if b[wire.MAGIC_AT] == 2]  # older messages are shorter than its header
    if len(destination) == 1 and any(wire.same_records(destination[0], batch) for batch in current):
        return None
    theirs = source.records()
    hidden = list(source.hidden())
    for batch in destination:
        header = wire.header(batch)
        if header.attributes & wire.CONTROL:
            if header.base_offset in theirs:
                return Difference(header.base_offset, "a control marker where the source has a record")
            continue
        aborted = header.attributes & wire.TRANSACTIONAL and header.base_offset < adopted_end
        for record in records_of(batch):
            found = theirs.get(record.offset)
            if found is not None and found != record and (what := _what_differs(record, found)):
                return Difference(record.offset, what)
            if not aborted and any(record.offset in span for span in hidden):
                return Difference(record.offset, "a record where the source shows none")
    return None


def _what_differs(ours: RawRecord, theirs: RawRecord) -> str:
    """Empty where a reader finds both the same."""
    one, other = (dict(zip(_PARTS, (r.timestamp, *read_body(r.body)), strict=True)) for r in (ours, theirs))
    names = [name for name in _PARTS if one[name] != other[name]]
    return f"another {' and '.join(names)}" if names else ""
