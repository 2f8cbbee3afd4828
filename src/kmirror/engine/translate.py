"""From fetched bytes to steps. Pure: no I/O, no state between calls; the law is that any split gives the same steps."""

import struct
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

from kmirror.engine.steps import Append, Fill, Form, Gap, Reencode, Step, Stop
from kmirror.model.failures import Failure
from kmirror.wire import batch as wire
from kmirror.wire.batch import BatchHeader, RawBatch
from kmirror.wire.pipes import Pipe
from kmirror.wire.scan import scan


def translate(
    records: memoryview,
    position: int,
    aborted: Sequence[tuple[int, int]] = (),
    most_bytes: tuple[int, int] = (0, 0),
    piped: Mapping[int, Pipe] = MappingProxyType({}),
) -> Iterator[Step]:
    """The steps for a fetch at `position`, in order and without a gap between them.

    `records` are whole batches, the last perhaps cut off; `aborted` the (producer id, first offset) of the aborted
    transactions that overlap them, as a read_committed fetch tells. After a Stop nothing follows. Neighbouring batches
    that may be merged become one step, if each has at most the first of `most_bytes`, and all together the second.
    `piped` tells, in order, where batches begin of which the last bytes are in a pipe instead: their checksums are left
    to the destination's broker, which looks at each.
    """
    open_aborted = sorted(aborted, key=lambda transaction: transaction[1], reverse=True)
    aborting: set[int] = set()
    at = 0
    try:
        while True:
            committed = -1 if aborting else open_aborted[-1][1] if open_aborted else wire.NO_OFFSET
            pipe = piped.get(at)
            if pipe is None:
                start, rest = 0, records[at : next((place for place in piped if place > at), None)]
                for end, batches, count, first, latest in scan(rest, position, committed, most_bytes):
                    yield Append(position, count, rest[start:end], first, latest, batches)
                    position += count
                    start = end
                at += start
                pipe = piped.get(at)
            piped_bytes = 0
            if pipe is None:
                raw = wire.first_batch(records[at:])
                if raw is None:
                    return
            else:
                piped_bytes = len(pipe)
                ready = _piped_step(records, at, pipe, position, committed)
                if ready.pipe is not None:
                    yield ready
                    position = ready.end
                    at += len(ready.batch)
                    continue
                raw = RawBatch(wire.base_offset(ready.batch), 2, ready.batch)
            if at and raw.base_offset < position:  # not under the checksum, so looked at by itself
                yield Stop(position, Failure.CORRUPT_BATCH, f"behind offset {position - 1} comes {raw.base_offset}")
                return
            for step in _batch_steps(raw, position, open_aborted, aborting):
                yield step
                if isinstance(step, Stop):
                    return
                position = step.base + step.count
            at += len(raw.data) - piped_bytes
    except (ValueError, struct.error) as e:
        yield Stop(position, Failure.CORRUPT_BATCH, f"the source's log can't be read at offset {position}: {e}")


def _piped_step(records: memoryview, at: int, pipe: Pipe, position: int, committed: int) -> Append:
    """For the batch that begins there, which is in a pipe, dense, and has no flag but that of a transaction. If it
    can't go on as it is, all of it is in memory now.
    """
    base, length, _, _, _, flags, _, first, latest, _, _, _, count = wire.HEADER.unpack_from(records, at)
    piped_bytes = len(pipe)
    held = records[at : at + wire.LOG_OVERHEAD + length - piped_bytes]
    step = Append(position, count, held, first, latest, 1, pipe, piped_bytes)
    if base != position or (flags & wire.TRANSACTIONAL and step.end > committed):
        step.whole()
    return step


def _batch_steps(
    raw: RawBatch, position: int, open_aborted: list[tuple[int, int]], aborting: set[int]
) -> Iterator[Step]:
    if raw.magic > 2:
        yield Stop(
            max(position, raw.base_offset),
            Failure.UNSUPPORTED_MESSAGE_FORMAT,
            f"message format v{raw.magic} is not known",
        )
        return
    if raw.magic < 2:
        yield from _old_format_steps(raw, position)
        return
    header = wire.header(raw.data)
    if not wire.is_intact(raw.data):
        place = f"offsets {header.base_offset} to {header.last_offset}"
        yield Stop(
            max(position, header.base_offset), Failure.CORRUPT_BATCH, f"the checksum of the batch at {place} is wrong"
        )
        return
    if header.last_offset < position:
        return
    yield from _hole(position, header.base_offset)
    first = max(position, header.base_offset)
    while open_aborted and open_aborted[-1][1] <= header.last_offset:
        aborting.add(open_aborted.pop()[0])
    if header.attributes & wire.CONTROL:
        aborting.discard(header.producer_id)
        yield Fill(first, header.last_offset + 1 - first, Gap.MARKER)
    elif header.attributes & wire.TRANSACTIONAL and header.producer_id in aborting:
        yield Fill(first, header.last_offset + 1 - first, Gap.ABORTED)
    else:
        yield _data_step(raw.data, header, first)


def _data_step(data: memoryview, header: BatchHeader, first: int) -> Step:
    count = header.last_offset + 1 - first
    if header.record_count == 0:
        return Fill(first, count, Gap.HOLE)  # the cleaner keeps an emptied batch for its producer's last sequence
    if header.attributes & wire.LOG_APPEND_TIME:
        return Reencode(first, count, data, Form.LOG_APPEND_TIME)
    if not header.dense:
        return Reencode(first, count, data, Form.HOLES)
    if first > header.base_offset:
        return Reencode(first, count, data, Form.SPLIT)
    return Append(first, count, data, header.base_timestamp, header.max_timestamp)


def _old_format_steps(raw: RawBatch, position: int) -> Iterator[Step]:
    """A compressed v0/v1 message carries the offset of its last record; a plain one its own."""
    records = wire.decode(raw.data)
    kept = [record.offset for record in records if record.offset >= position]
    if kept:
        yield from _hole(position, kept[0])
        yield Reencode(kept[0], kept[-1] + 1 - kept[0], raw.data, Form.OLD_FORMAT)


def _hole(position: int, base: int) -> Iterator[Step]:
    if base > position:
        yield Fill(position, base - position, Gap.HOLE)
