"""Translating a source's log into steps: any split gives the same, nothing is lost, damage is a Stop."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmirror.engine.steps import Append, Fill, Form, Gap, Reencode, Step, Stop
from kmirror.engine.translate import translate
from kmirror.wire.batch import decode, header, leader_epoch, split
from support.batches import LOG_APPEND_TIME, TRANSACTIONAL, Rec, batch, dense, marker, message, message_set
from support.source_log import ABORTED, HOLE, MARKER, RECORD, SourceLog, source_logs
from support.steps import plain


def steps(data: bytes, position: int = 0, aborted: list[tuple[int, int]] | None = None) -> list[Step]:
    return list(translate(memoryview(bytearray(data)), position, aborted or []))


def assert_contiguous(found: list[Step], position: int) -> None:
    for step in found:
        assert not isinstance(step, Stop), step
        assert step.base == position
        assert step.count > 0
        position = step.base + step.count


@given(source_logs(), st.data())
def test_any_split_of_a_log_gives_the_same_steps(log: SourceLog, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, log.end))
    whole = steps(*_fetch(log, start))
    position, pieces = start, []
    while True:
        found = steps(*_fetch(log, position, data.draw(st.integers(1, 400))))
        if not found:
            break
        pieces += found
        last = found[-1]
        assert not isinstance(last, Stop)
        position = last.base + last.count
    assert plain(pieces) == plain(whole)
    assert_contiguous(whole, start)


def _fetch(log: SourceLog, position: int, size: int | None = None) -> tuple[bytes, int, list[tuple[int, int]]]:
    data, aborted = log.fetch(position, size)
    return bytes(data), position, aborted


@given(source_logs(), st.data())
def test_each_offset_becomes_what_the_model_says(log: SourceLog, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, log.end))
    found = steps(*_fetch(log, start))
    slots: list[tuple[str, bytes | None]] = []
    gaps = {Gap.MARKER: MARKER, Gap.ABORTED: ABORTED, Gap.HOLE: HOLE}
    for step in found:
        assert not isinstance(step, Stop)
        if isinstance(step, Fill):
            slots += [(gaps[step.gap], None)] * step.count
            continue
        values = {r.offset: r.value for r in decode(step.batch)}
        span = range(step.base, step.base + step.count)
        slots += [(RECORD, values[o]) if o in values else (HOLE, None) for o in span]
    trailing = log.end - start - len(slots)
    assert slots + [(HOLE, None)] * trailing == log.slots[start:]


@given(source_logs(), st.sampled_from([(80, 1000), (200, 250), (20_000, 131_072)]), st.data())
def test_small_batches_that_are_told_together_are_the_same(
    log: SourceLog, most: tuple[int, int], data: st.DataObject
) -> None:
    records, position, aborted = _fetch(log, data.draw(st.integers(0, log.end)))
    apart = []
    for step in translate(memoryview(bytearray(records)), position, aborted, most):
        if not isinstance(step, Append) or step.source_batches == 1:
            apart.append(step)
            continue
        assert step.size <= most[1]
        assert len({leader_epoch(raw.data) for raw in split(step.batch)}) == 1
        alone = [found for raw in split(step.batch) for found in translate(raw.data, raw.base_offset, ())]
        assert len(alone) == step.source_batches
        assert (step.base, step.end) == (alone[0].base, alone[-1].base + alone[-1].count)
        assert step.max_timestamp == max(header(raw.data).max_timestamp for raw in split(step.batch))
        apart += alone
    assert plain(apart) == plain(steps(records, position, aborted))


@given(source_logs())
def test_only_what_may_go_as_it_is_goes_as_it_is(log: SourceLog) -> None:
    appended = {step.base: bytes(step.batch) for step in steps(*_fetch(log, 0)) if isinstance(step, Append)}
    assert appended == {entry.base: entry.data for entry in log.entries if entry.plain}


@given(source_logs(most=4))
def test_a_cut_at_any_byte_gives_the_first_of_the_steps(log: SourceLog) -> None:
    data, position, aborted = _fetch(log, 0)
    whole = plain(steps(data, position, aborted))
    ends, behind = [], 0
    for entry in log.entries:
        behind += len(entry.data)
        ends.append((behind, entry.last + 1))
    for cut in range(len(data) + 1):
        upto = max((offset for size, offset in ends if size <= cut), default=0)
        got = plain(steps(data[:cut], position, aborted))
        assert got == whole[: len(got)]
        assert sum(step[2] for step in got) == upto  # a whole batch is never held back


@given(source_logs(), st.data())
def test_one_flipped_bit_under_the_checksum_stops_there(log: SourceLog, data: st.DataObject) -> None:
    checked = [i for i, entry in enumerate(log.entries) if entry.data[16] == 2]
    if not checked:
        return
    hit = data.draw(st.sampled_from(checked))
    entry = log.entries[hit]
    start = data.draw(st.integers(0, entry.last))
    bit = data.draw(st.integers(17 * 8, len(entry.data) * 8 - 1))
    damaged = bytearray(entry.data)
    damaged[bit // 8] ^= 1 << bit % 8
    good = plain(steps(*_fetch(log, start)))
    rest = [bytes(damaged) if i == hit else e.data for i, e in enumerate(log.entries) if e.last >= start]
    found = plain(steps(b"".join(rest), start, log.fetch(start)[1]))
    at = max(entry.base, start)
    before = [
        step for step in good if step[1] + step[2] <= at and not (step[3] is Gap.HOLE and _leads_to(step, log, hit))
    ]
    assert found == [*before, ("stop", at, "CORRUPT_BATCH")]


def _leads_to(step: tuple[object, ...], log: SourceLog, hit: int) -> bool:
    """The hole between the batch before and the damaged one is told with the damaged one: so it isn't."""
    before = log.entries[hit - 1].last + 1 if hit else 0
    return int(str(step[1])) >= before


@given(source_logs(most=5), st.data())
def test_damage_anywhere_is_never_an_exception(log: SourceLog, data: st.DataObject) -> None:
    damaged, position, aborted = _fetch(log, 0)
    hurt = bytearray(damaged)
    for _ in range(data.draw(st.integers(1, 8))):
        if hurt:
            hurt[data.draw(st.integers(0, len(hurt) - 1))] = data.draw(st.integers(0, 255))
    at = position
    for step in steps(bytes(hurt), position, aborted):
        if not isinstance(step, Stop):
            assert step.base == at
            assert step.count > 0
            at = step.base + step.count


@given(st.binary(max_size=300))
def test_noise_is_never_an_exception(noise: bytes) -> None:
    steps(noise)


# --- one by one, as the table of the design has them


def test_a_batch_below_the_position_is_passed_over() -> None:
    assert plain(steps(dense(0, 3) + dense(3, 2), 3)) == [("append", 3, 2, dense(3, 2), 1_700_000_000_000)]


def test_a_batch_that_begins_before_the_position_is_split() -> None:
    (step,) = steps(dense(0, 5), 2)
    assert isinstance(step, Reencode)
    assert (step.base, step.count, step.form) == (2, 3, Form.SPLIT)


def test_a_damaged_last_offset_does_not_make_a_batch_pass_for_an_old_one() -> None:
    data = bytearray(dense(10, 3))
    struct.pack_into(">i", data, 23, -5)
    (step,) = steps(bytes(data), 10)
    assert isinstance(step, Stop)
    assert (step.base, step.code) == (10, "CORRUPT_BATCH")


def test_steps_keep_timestamps() -> None:
    (step,) = steps(batch(4, [Rec(0, at=50), Rec(1, at=70), Rec(2, at=60)]), 4)
    assert isinstance(step, Append)
    assert (step.base_timestamp, step.max_timestamp, step.end) == (50, 70, 7)


@pytest.mark.parametrize("commit", [True, False])
def test_a_transaction_and_its_marker(commit: bool) -> None:
    data = dense(0, 2, attributes=TRANSACTIONAL, producer=(9, 0, 0)) + dense(2, 1) + marker(3, 9, commit=commit)
    found = steps(data, 0, [] if commit else [(9, 0)])
    first = Append if commit else Fill
    assert [type(step) for step in found] == [first, Append, Fill]
    if not commit:
        assert plain(found)[0] == ("fill", 0, 2, Gap.ABORTED)
    assert plain(found)[2] == ("fill", 3, 1, Gap.MARKER)


def test_one_producer_aborts_commits_and_aborts() -> None:
    data = b""
    for i in range(3):
        data += dense(2 * i, 1, attributes=TRANSACTIONAL, producer=(9, 0, i)) + marker(2 * i + 1, 9, commit=i == 1)
    kinds = [step[3] if step[0] == "fill" else "append" for step in plain(steps(data, 0, [(9, 4), (9, 0)]))]
    assert kinds == [Gap.ABORTED, Gap.MARKER, "append", Gap.MARKER, Gap.ABORTED, Gap.MARKER]


def test_a_plain_record_of_an_aborting_producer_stays() -> None:
    data = dense(0, 1, attributes=TRANSACTIONAL, producer=(9, 0, 0)) + dense(1, 1, producer=(9, 0, 1))
    assert isinstance(steps(data, 0, [(9, 0)])[1], Append)


def test_log_append_time_and_holes_are_written_anew() -> None:
    data = dense(0, 2, attributes=LOG_APPEND_TIME) + batch(2, [Rec(0), Rec(2)])
    found = plain(steps(data))
    assert [(s[0], s[1], s[2], s[4]) for s in found] == [
        ("reencode", 0, 2, Form.LOG_APPEND_TIME),
        ("reencode", 2, 3, Form.HOLES),
    ]


@pytest.mark.parametrize("magic", [0, 1])
def test_old_messages(magic: int) -> None:
    data = message(3, b"a", magic=magic) + message_set(4, 3, magic=magic)
    found = plain(steps(data, 0))
    assert [(s[0], s[1], s[2]) for s in found] == [("fill", 0, 3), ("reencode", 3, 1), ("reencode", 4, 3)]
    assert plain(steps(data, 5))[0][:3] == ("reencode", 5, 2)


@pytest.mark.parametrize("magic", [0, 1])
def test_a_damaged_old_message_stops(magic: int) -> None:
    data = bytearray(message(3, b"value", magic=magic))
    data[-1] ^= 1
    assert plain(steps(bytes(data), 3)) == [("stop", 3, "CORRUPT_BATCH")]


@pytest.mark.parametrize(("position", "at"), [(0, 5), (6, 6)])
def test_a_later_message_format_stops(position: int, at: int) -> None:
    data = bytearray(dense(5, 3))
    data[16] = 3
    assert plain(steps(bytes(data), position)) == [("stop", at, "UNSUPPORTED_MESSAGE_FORMAT")]


def test_nothing_follows_a_stop() -> None:
    data = bytearray(dense(0, 1) + dense(1, 1))
    data[30] ^= 1
    assert plain(steps(bytes(data))) == [("stop", 0, "CORRUPT_BATCH")]


@pytest.mark.parametrize("length", [-1, 0, 4, 20, 48])
def test_a_batch_too_short_for_its_header_stops(length: int) -> None:
    data = bytearray(dense(7, 1))
    struct.pack_into(">i", data, 8, length)
    assert plain(steps(bytes(data), 7)) == [("stop", 7, "CORRUPT_BATCH")]
