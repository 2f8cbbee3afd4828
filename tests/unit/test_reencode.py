"""Batches with holes, split, old or with log append time become dense runs, and the gaps between them."""

import pytest

from kmirror.engine.reencode import reencode
from kmirror.engine.steps import Append, Fill, Form, Gap, Reencode
from kmirror.wire import batch as wire
from support.batches import LOG_APPEND_TIME, Rec, batch, dense, message_set

AT = 1_700_000_000_000


def parts(data: bytes, base: int, count: int, form: Form = Form.HOLES) -> list[tuple[object, ...]]:
    """("records", base, values, codec) or ("hole", base, count)."""
    out: list[tuple[object, ...]] = []
    for step in reencode(Reencode(base, count, memoryview(data), form)):
        if isinstance(step, Fill):
            assert step.gap is Gap.HOLE
            out.append(("hole", step.base, step.count))
        else:
            values = [record.value for record in wire.decode(step.batch)]
            assert step.count == len(values)
            out.append(("records", step.base, values, wire.compression(step.batch)))
    return out


@pytest.mark.parametrize("codec", range(5))
def test_holes_at_the_start_inside_and_at_the_end(codec: int) -> None:
    data = batch(10, [Rec(2, b"a"), Rec(3, b"b"), Rec(6, b"c")], attributes=codec, last_delta=9)
    assert parts(data, 10, 10) == [
        ("hole", 10, 2),
        ("records", 12, [b"a", b"b"], codec),
        ("hole", 14, 2),
        ("records", 16, [b"c"], codec),
        ("hole", 17, 3),
    ]


def test_what_is_copied_already_is_left_out() -> None:
    data = batch(10, [Rec(2, b"a"), Rec(3, b"b"), Rec(6, b"c")], last_delta=9)
    assert parts(data, 13, 7)[0] == ("records", 13, [b"b"], 0)
    assert parts(data, 14, 6)[0] == ("hole", 14, 2)
    assert parts(data, 17, 3) == [("hole", 17, 3)]


def test_the_rest_of_a_dense_batch() -> None:
    assert parts(dense(0, 5, attributes=3), 3, 2, Form.SPLIT) == [("records", 3, [b"value 3", b"value 4"], 3)]


def test_log_append_time_goes_into_the_records() -> None:
    data = batch(4, [Rec(0, at=5), Rec(1, at=6)], attributes=LOG_APPEND_TIME | 2, max_timestamp=AT)
    (step,) = reencode(Reencode(4, 2, memoryview(data), Form.LOG_APPEND_TIME))
    assert isinstance(step, Append)
    assert (step.base_timestamp, step.max_timestamp) == (AT, AT)
    assert wire.header(step.batch).attributes == 2
    assert [record.timestamp for record in wire.decode(step.batch)] == [AT, AT]


@pytest.mark.parametrize("magic", [0, 1])
def test_old_messages_keep_their_codec(magic: int) -> None:
    data = message_set(4, 3, magic=magic)
    assert parts(data, 5, 2, Form.OLD_FORMAT) == [("records", 5, [b"old 5", b"old 6"], 1)]


def test_bounds_of_time_are_those_of_the_run() -> None:
    data = batch(0, [Rec(0, at=AT), Rec(2, at=AT + 9), Rec(3, at=AT + 4)])
    steps = [step for step in reencode(Reencode(0, 4, memoryview(data), Form.HOLES)) if isinstance(step, Append)]
    assert [(s.base_timestamp, s.max_timestamp) for s in steps] == [(AT, AT), (AT + 9, AT + 9)]
    header = wire.header(steps[1].batch)
    assert (header.base_timestamp, header.max_timestamp) == (AT + 9, AT + 9)


def test_bytes_that_cannot_be_read_are_a_value_error() -> None:
    data = bytearray(batch(0, [Rec(0), Rec(2)], attributes=1))
    data[61:] = bytes(len(data) - 61)
    with pytest.raises(ValueError, match="unreadable"):
        list(reencode(Reencode(0, 3, memoryview(data), Form.HOLES)))
