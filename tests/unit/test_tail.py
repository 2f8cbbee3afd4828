"""The tail check: the destination's last batch against the source's, record for record."""

import contextlib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmirror.engine.tail import Difference, SourceView
from kmirror.engine.tail import compare_tail as compare_batches
from kmirror.engine.translate import translate
from kmirror.wire import batch as wire
from kmirror.wire.batch import stamp
from kmirror.wire.merge import merge
from support.batches import TRANSACTIONAL, Rec, batch, dense, marker, message, message_set

RECORDS = [Rec(i, b"value %d" % i, b"key %d" % i, 1000 + i, (("h", b"1"), ("h", None))) for i in range(4)]


def view(data: bytes) -> memoryview:
    return memoryview(bytearray(data))


def compare_tail(destination: memoryview, source: list[memoryview], adopted_end: int = 0) -> Difference | None:
    """One batch of the destination against these of the source."""
    steps = list(translate(memoryview(b"".join(source)), min(map(wire.base_offset, source), default=0)))
    return compare_batches([destination], SourceView(source, steps), adopted_end)


def mirrored(data: bytes, base: int) -> memoryview:
    """What the destination holds of a batch that was sent on."""
    copy = view(data)
    stamp(copy, 42, 0, base)
    copy[0:8] = base.to_bytes(8)
    return copy


@pytest.mark.parametrize("attributes", [0, 1, 2, 3, 4, TRANSACTIONAL])
def test_the_copy_of_a_batch_is_the_same(attributes: int) -> None:
    data = batch(10, RECORDS, attributes=attributes)
    assert compare_tail(mirrored(data, 10), [view(dense(5, 5)), view(data)]) is None


def test_other_bounds_and_codec_are_the_same() -> None:
    ours = mirrored(batch(10, RECORDS, attributes=4), 10)
    halves = [batch(10, RECORDS[:2]), batch(12, [replace(r, delta=r.delta - 2) for r in RECORDS[2:]], attributes=1)]
    assert compare_tail(ours, [view(half) for half in halves]) is None


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"value": b"other"}, "value"),
        ({"value": None}, "value"),
        ({"key": None}, "key"),
        ({"at": 999}, "timestamp"),
        ({"headers": (("h", None), ("h", b"1"))}, "headers"),
    ],
)
@pytest.mark.parametrize("index", [0, 1, 3])
def test_each_difference_is_found_and_named(index: int, change: dict[str, object], word: str) -> None:
    theirs = list(RECORDS)
    theirs[index] = replace(theirs[index], **change)
    found = compare_tail(mirrored(batch(10, RECORDS), 10), [view(batch(10, theirs))])
    assert found is not None
    assert (found.offset, found.what) == (10 + index, f"another {word}")


SINGLE = [batch(10 + r.delta, [replace(r, delta=0)]) for r in RECORDS]


def merged() -> memoryview:
    """What the destination holds of them, sent as one batch."""
    found = merge([view(data) for data in SINGLE])
    assert found
    assert found.parts == len(SINGLE)
    return mirrored(bytes(found.batch), 10)


@pytest.mark.parametrize("lost", [(), (0,), (1, 2), (3,), (0, 1, 2, 3)])
def test_a_merged_batch_and_a_source_that_lost_some_of_it(lost: tuple[int, ...]) -> None:
    left = [view(data) for index, data in enumerate(SINGLE) if index not in lost]
    assert compare_tail(merged(), left) is None


@pytest.mark.parametrize("index", [0, 1, 3])
def test_a_difference_inside_a_merged_batch_is_named_by_its_offset(index: int) -> None:
    theirs = [view(data) for data in SINGLE]
    theirs[index] = view(
        batch(10 + index, [Rec(0, b"other", RECORDS[index].key, 1000 + index, RECORDS[index].headers)])
    )
    assert compare_tail(merged(), theirs) == Difference(10 + index, "another value")
    theirs[index] = view(marker(10 + index, 9, commit=True))
    assert compare_tail(merged(), theirs) == Difference(10 + index, "a record where the source shows none")


def test_bytes_that_are_read_as_the_same_are_the_same() -> None:
    """A length may be written in more bytes than it needs: no reader can tell."""
    one = dense(10, 1)
    assert one[65] < 0x80, "the length of the key"
    longer = bytearray(one[:61] + bytes([one[61] + 2]) + one[62:65] + bytes([one[65] | 0x80, 0]) + one[66:])
    longer[8:12] = (len(longer) - 12).to_bytes(4)
    assert compare_tail(mirrored(bytes(longer), 10), [view(one)]) is None


def test_what_the_source_lost_passes() -> None:
    compacted = batch(10, [RECORDS[1], RECORDS[3]])
    assert compare_tail(mirrored(batch(10, RECORDS), 10), [view(compacted)]) is None
    assert compare_tail(mirrored(batch(10, RECORDS), 10), []) is None


def test_a_record_where_the_source_has_a_marker_is_foreign() -> None:
    found = compare_tail(mirrored(dense(7, 1), 7), [view(dense(5, 2)), view(marker(7, 3, commit=True))])
    assert found is not None
    assert found.offset == 7


def test_an_aborted_record_of_an_adopted_log_is_its_own() -> None:
    aborted = view(batch(10, RECORDS, attributes=TRANSACTIONAL))
    theirs = [view(marker(offset, 42, commit=False)) for offset in range(10, 14)]
    assert compare_tail(aborted, theirs, adopted_end=14) is None
    assert compare_tail(aborted, theirs, adopted_end=10) == Difference(10, "a record where the source shows none")
    assert compare_tail(view(batch(10, RECORDS)), theirs, adopted_end=14) is not None
    committed = [view(batch(10, [replace(RECORDS[0], value=b"another"), *RECORDS[1:]]))]
    assert compare_tail(aborted, committed, adopted_end=14) == Difference(10, "another value")


def test_a_marker_where_the_source_has_a_record_is_foreign() -> None:
    found = compare_tail(view(marker(6, 3, commit=True)), [view(dense(5, 2))])
    assert found is not None
    assert found.offset == 6
    assert compare_tail(view(marker(7, 42, commit=True)), [view(marker(7, 3, commit=False))]) is None


@pytest.mark.parametrize("magic", [0, 1])
def test_a_source_of_old_messages(magic: int) -> None:
    theirs = [view(message(5, b"a", magic=magic)), view(message_set(6, 2, magic=magic))]
    ours = batch(5, [Rec(0, b"foreign"), Rec(1)])
    found = compare_tail(view(ours), theirs)
    assert found is not None
    assert found.offset == 5


@given(st.data())
def test_damage_is_a_difference_or_a_value_error(data: st.DataObject) -> None:
    sides = [bytearray(dense(3, 2)), bytearray(data.draw(st.sampled_from([dense(3, 2), message(3, b"x", magic=1)])))]
    for _ in range(data.draw(st.integers(1, 5))):
        side = data.draw(st.sampled_from(sides))
        side[data.draw(st.integers(12, len(side) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(ValueError):
        compare_tail(memoryview(sides[0]), [memoryview(sides[1])])


def test_bytes_that_cannot_be_read_are_a_value_error() -> None:
    damaged = bytearray(dense(3, 2, attributes=1))
    damaged[61:70] = b"not gzip!"
    with pytest.raises(ValueError, match="unreadable batch"):
        compare_tail(memoryview(damaged), [view(dense(3, 2))])
    with pytest.raises(ValueError, match="shorter"):
        compare_tail(view(message(3, b"x", magic=1)), [view(dense(3, 2))])
