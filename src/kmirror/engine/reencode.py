"""Batches that can't go as they are, taken apart into dense runs and the gaps between them. Pure."""

from collections.abc import Iterator
from itertools import pairwise

from kmirror.engine.steps import Append, Fill, Form, Gap, Reencode
from kmirror.wire import batch as wire
from kmirror.wire.records import RawRecord, raw_record, read_records, write_batch


def reencode(step: Reencode) -> Iterator[Append | Fill]:
    """The steps that `step` stands for, without a gap between them. Raises ValueError for bytes that can't be read.

    A run keeps the source's compression; key, value and headers stay the bytes that they were.
    """
    codec = wire.compression(step.batch)
    records = [record for record in _records(step) if record.offset >= step.base]
    position = step.base
    for run in _runs(records):
        if run[0].offset > position:
            yield Fill(position, run[0].offset - position, Gap.HOLE)
        stamps = [record.timestamp for record in run]
        yield Append(run[0].offset, len(run), write_batch(run, codec), stamps[0], max(stamps))
        position = run[-1].offset + 1
    if position < step.base + step.count:
        yield Fill(position, step.base + step.count - position, Gap.HOLE)


def _records(step: Reencode) -> list[RawRecord]:
    if step.form is Form.OLD_FORMAT:
        return [raw_record(record) for record in wire.decode(step.batch)]
    return read_records(step.batch)


def _runs(records: list[RawRecord]) -> Iterator[list[RawRecord]]:
    """Records at neighbouring offsets, together."""
    start = 0
    for index, (one, other) in enumerate(pairwise(records), start=1):
        if other.offset != one.offset + 1:
            yield records[start:index]
            start = index
    if records:
        yield records[start:]
