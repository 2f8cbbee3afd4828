"""The tail check: does the destination's log end as the source has it? Pure comparison of batches.

A write by somebody else while no runner ran can't be seen from the log end alone. A foreign record is always the last
one then, because the next append of ours would be refused or misplaced: so one batch of the destination is enough.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from kmirror.wire import batch as wire
from kmirror.wire.batch import Record


@dataclass(frozen=True, slots=True)
class Difference:
    """The first offset at which both sides differ."""

    offset: int
    what: str


def compare_tail(destination: memoryview, source: Sequence[memoryview]) -> Difference | None:
    """Compares the last batch of the destination with the source's batches over the same offsets.

    An offset that the source does not hold any more (compaction, retention) can't be compared and passes.
    Raises ValueError for bytes that can't be read.
    """
    try:
        return _compare(destination, source)
    except struct.error as e:
        raise ValueError(f"a batch shorter than its header: {e}") from e


def _compare(destination: memoryview, source: Sequence[memoryview]) -> Difference | None:
    current = [batch for batch in source if batch[wire.MAGIC_AT] == 2]  # older messages are shorter than its header
    if any(wire.same_records(destination, batch) for batch in current):
        return None
    ours = wire.decode(destination)
    theirs: dict[int, Record] = {record.offset: record for batch in source for record in wire.decode(batch)}
    controls = [h for h in map(wire.header, current) if h.attributes & wire.CONTROL]
    for record in ours:
        found = theirs.get(record.offset)
        if found is not None and found != record:
            return Difference(record.offset, _what_differs(record, found))
        if any(control.base_offset <= record.offset <= control.last_offset for control in controls):
            return Difference(record.offset, "a record where the source has a transaction marker")
    if wire.header(destination).attributes & wire.CONTROL:
        hidden = wire.header(destination).base_offset
        if hidden in theirs:
            return Difference(hidden, "a control marker where the source has a record")
    return None


def _what_differs(ours: Record, theirs: Record) -> str:
    names = ("timestamp", "key", "value", "headers")
    return "another " + " and ".join(name for name in names if getattr(ours, name) != getattr(theirs, name))
