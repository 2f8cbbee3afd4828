"""Records taken out of batches and written into others: the bytes of key, value and headers stay what they were."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmirror.wire import batch as wire
from kmirror.wire.records import RawRecord, raw_record, read_records, write_batch
from support.batches import LOG_APPEND_TIME, Rec, batch, message

CODECS = range(5)

stamps = st.integers(-1, 2**53)
some_bytes = st.none() | st.binary(max_size=40)
headers = st.lists(st.tuples(st.text(max_size=5), some_bytes), max_size=3).map(tuple)


@st.composite
def runs(draw: st.DrawFn) -> list[Rec]:
    """Records with deltas that grow, with holes or without."""
    deltas = draw(st.lists(st.integers(0, 300), min_size=1, max_size=12, unique=True))
    return [Rec(d, draw(some_bytes), draw(some_bytes), draw(stamps), draw(headers)) for d in sorted(deltas)]


def visible(records: list[Rec], base: int) -> list[wire.Record]:
    return [wire.Record(base + r.delta, r.at, r.key, r.value, r.headers) for r in records]


@given(runs(), st.sampled_from(CODECS), st.integers(0, 2**40))
def test_what_is_read_is_written_again(records: list[Rec], codec: int, base: int) -> None:
    raw = read_records(memoryview(batch(base, records, attributes=codec)))
    assert [r.offset for r in raw] == [base + r.delta for r in records]
    written = write_batch(raw, codec)
    header = wire.header(written)
    assert wire.is_intact(written)
    assert header.dense
    assert (header.base_offset, header.attributes, header.magic, header.producer_id) == (0, codec, 2, -1)
    assert (header.base_timestamp, header.max_timestamp) == (records[0].at, max(r.at for r in records))
    dense = [found._replace(offset=base + r.delta) for found, r in zip(wire.decode(written), records, strict=True)]
    assert dense == visible(records, base)
    assert [r.body for r in read_records(written)] == [r.body for r in raw], "byte for byte"


@given(runs(), st.integers(0, 2**40))
def test_log_append_time_is_the_time_of_each_record(records: list[Rec], at: int) -> None:
    data = batch(5, records, attributes=LOG_APPEND_TIME, max_timestamp=at)
    assert {r.timestamp for r in read_records(memoryview(data))} == {at}


@given(st.integers(0, 2**40), some_bytes, some_bytes, headers)
def test_a_decoded_record_gets_the_bytes_of_v2(offset: int, key: bytes, value: bytes, headers: tuple) -> None:
    found = raw_record(wire.Record(offset, 77, key, value, headers))
    (expected,) = read_records(memoryview(batch(offset, [Rec(0, value, key, 77, headers)])))
    assert found == expected


@pytest.mark.parametrize("magic", [0, 1])
def test_old_messages_have_the_time_that_readers_see(magic: int) -> None:
    (found,) = [raw_record(r) for r in wire.decode(memoryview(message(3, b"v", magic=magic, key=b"k")))]
    assert (found.offset, found.timestamp) == (3, 1_600_000_000_000 if magic else -1)
    (written,) = wire.decode(write_batch([found], 0))
    assert (written.key, written.value, written.timestamp) == (b"k", b"v", found.timestamp)


@pytest.mark.parametrize("codec", CODECS)
def test_damaged_bytes_are_a_value_error(codec: int) -> None:
    data = bytearray(batch(9, [Rec(i, b"value" * 9) for i in range(5)], attributes=codec))
    data[wire.HEADER_BYTES :] = b"\xff" * (len(data) - wire.HEADER_BYTES)
    with pytest.raises(ValueError, match="unreadable batch at offset 9"):
        read_records(memoryview(data))


def test_more_records_than_bytes_and_unknown_codecs_are_a_value_error() -> None:
    data = bytearray(batch(9, [Rec(0)]))
    struct.pack_into(">i", data, 57, 3)
    with pytest.raises(ValueError, match="unreadable"):
        read_records(memoryview(data))
    data = bytearray(batch(9, [Rec(0)]))
    data[22] |= 7
    with pytest.raises(ValueError, match="codec 7"):
        read_records(memoryview(data))


@given(runs(), st.sampled_from(CODECS), st.data())
def test_any_damage_is_records_or_a_value_error(records: list[Rec], codec: int, data: st.DataObject) -> None:
    damaged = bytearray(batch(0, records, attributes=codec))
    for _ in range(data.draw(st.integers(1, 5))):
        damaged[data.draw(st.integers(wire.HEADER_BYTES, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    try:
        found = read_records(memoryview(damaged))
    except ValueError:
        return
    assert len(found) == len(records)


def test_times_far_apart_fit_one_batch() -> None:
    records = [RawRecord(i, at, b"\1\1\0") for i, at in enumerate((-1, 2**62, 0))]
    assert [r.timestamp for r in read_records(write_batch(records, 0))] == [-1, 2**62, 0]
