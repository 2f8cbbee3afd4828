"""Small batches made into one: every record stays what it was, for any reader; what can't be read is left alone."""

import struct
from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmirror.wire import batch as wire
from kmirror.wire.merge import codec_to_merge, merge
from support.batches import CONTROL, LOG_APPEND_TIME, TRANSACTIONAL, Rec, batch, dense, varint

DELETE_HORIZON = 0x40
GZIP = 1

stamps = st.integers(-1, 2**53) | st.integers(1_700_000_000_000, 1_700_000_000_300) | st.integers(-(2**62), 2**62 - 1)
some_bytes = st.none() | st.binary(max_size=90)
headers = st.lists(st.tuples(st.text(max_size=5), some_bytes), max_size=3).map(tuple)
records = st.tuples(some_bytes, some_bytes, stamps, headers)
lots = st.lists(st.lists(records, min_size=1, max_size=4), min_size=2, max_size=6)


def logged(lots: list[list[tuple]], codec: int) -> list[bytes]:
    """Batches of these records at neighbouring offsets, as a producer writes them."""
    out, base = [], 1000
    for lot in lots:
        flags = codec | (TRANSACTIONAL if len(out) % 2 else 0)
        found = [Rec(delta, value, key, at, own) for delta, (key, value, at, own) in enumerate(lot)]
        out.append(batch(base, found, attributes=flags, producer=(7, 1, base)))
        base += len(lot)
    return out


def shown(batches: list[bytes]) -> list[wire.Record]:
    return [record for data in batches for record in wire.decode(memoryview(data))]


@given(lots, st.sampled_from([0, 2, 3, 4]))
def test_every_record_stays_what_it_was(lots: list[list[tuple]], codec: int) -> None:
    batches = logged(lots, codec)
    merged = merge([memoryview(data) for data in batches])
    assert merged
    assert merged.parts == len(batches)
    header = wire.header(merged.batch)
    assert (header.attributes, header.magic, header.dense) == (codec, 2, True)
    assert header.length + 12 == len(merged.batch)
    assert header.max_timestamp == merged.max_timestamp == max(record[2] for lot in lots for record in lot)
    assert header.base_timestamp == lots[0][0][2]
    assert wire.is_intact(merged.batch)
    assert [r._replace(offset=r.offset + 1000) for r in wire.decode(merged.batch)] == shown(batches)


def test_more_records_than_fit_into_two_bytes_of_an_offset_delta() -> None:
    batches = [dense(base, 1000) for base in range(0, 20_000, 1000)]
    batches.append(batch(20_000, [Rec(0, bytes(30_000)), Rec(1, bytes(8_000)), Rec(2, bytes(300))]))
    merged = merge([memoryview(data) for data in batches])
    assert merged
    assert wire.decode(merged.batch) == shown(batches)


@pytest.mark.parametrize(("first", "second"), [(-(2**62), 2**62), (2**62, -(2**62) - 1), (-1, 2**63 - 1)])
def test_timestamps_too_far_apart_stay_apart(first: int, second: int) -> None:
    """A delta has 64 bits: what does not fit begins another batch."""
    batches = [batch(0, [Rec(0, at=0)]), batch(1, [Rec(0, at=first)]), batch(2, [Rec(0, at=second)])]
    found = merge([memoryview(data) for data in batches[1:]])
    assert (found is None) == (not -(2**63) <= second - first < 2**63)
    merged = merge([memoryview(data) for data in batches])
    assert merged
    assert merged.parts == 3
    assert [r.timestamp for r in wire.decode(merged.batch)] == [0, first, second]


def strange(data: bytes) -> bytes:
    """A checksum that fits `data` as the records of one batch at offsets 1 and 2, of which only the header is right."""
    whole = bytearray(dense(1, 2)[:61] + data)
    struct.pack_into(">i", whole, 8, len(whole) - 12)
    return bytes(whole)


GOOD = dense(1, 2)[61:]
SECOND = 61 + 1 + dense(1, 2)[61] // 2  # where the second record begins


@pytest.mark.parametrize(
    "data",
    [
        b"",
        GOOD[:-1],
        GOOD + b"\0",
        varint(-3) + GOOD[1:],
        varint(2**40) + GOOD[1:],
        b"\xff" * 12 + GOOD,
        GOOD[:1] + b"\1" + GOOD[2:],  # attributes of a record, of which none is known
        GOOD[:3] + b"\2" + GOOD[4:],  # the first at offset delta 1
        GOOD[: SECOND - 61 + 3] + b"\0" + GOOD[SECOND - 61 + 4 :],  # the second at offset delta 0
        GOOD[:2] + varint(2**64) + GOOD[3:],
    ],
)
def test_a_batch_that_is_not_what_it_says_is_left_alone(data: bytes) -> None:
    before, behind = dense(0, 1), dense(3, 1)
    views = [memoryview(part) for part in (before, strange(data), behind)]
    assert merge(views) is None
    assert merge(views[1:]) is None
    found = merge([memoryview(dense(-1, 1)), *views])
    assert found
    assert found.parts == 2
    assert merge([memoryview(before), memoryview(strange(GOOD))])


def test_what_can_not_be_unpacked_is_left_alone() -> None:
    damaged = bytearray(dense(1, 2, attributes=3))
    damaged[61:] = b"x" * (len(damaged) - 61)
    assert merge([memoryview(dense(0, 1, attributes=3)), memoryview(damaged)]) is None


def test_what_becomes_large_when_it_is_unpacked_ends_a_batch() -> None:
    zeros = [batch(base, [Rec(0, bytes(600_000))], attributes=4) for base in range(5)]
    counts = [found.parts for at in (0, 2) if (found := merge([memoryview(data) for data in zeros[at:]]))]
    assert list(accumulate(counts)) == [2, 4]


@pytest.mark.parametrize("flags", [0, 2, 3, 4, TRANSACTIONAL, TRANSACTIONAL | 3])
def test_codecs_that_are_merged(flags: int) -> None:
    assert codec_to_merge(memoryview(dense(0, 1, attributes=flags))) == flags & 7


@pytest.mark.parametrize("flags", [GZIP, LOG_APPEND_TIME, CONTROL, DELETE_HORIZON, 0x80, 0x100, DELETE_HORIZON | 3])
def test_batches_that_stay_as_they_are(flags: int) -> None:
    assert codec_to_merge(memoryview(dense(0, 1, attributes=flags))) is None


@pytest.mark.parametrize("codec", [5, 6, 7])
def test_a_codec_that_nobody_knows(codec: int) -> None:
    data = bytearray(dense(0, 1))
    data[22] |= codec
    assert codec_to_merge(memoryview(data)) is None
