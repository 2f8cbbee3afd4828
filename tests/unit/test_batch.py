"""The batch header: iterate, check, stamp; judged by kafka-python's reader."""

import contextlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kafka.record import MemoryRecords, MemoryRecordsBuilder

from kmirror.wire import batch as wire
from support.batches import CONTROL, LOG_APPEND_TIME, TRANSACTIONAL, Rec, batch, dense, marker, message, message_set

TEXT = st.text(st.characters(codec="utf-8"), max_size=5)
BYTES = st.none() | st.binary(max_size=20)


@st.composite
def batches(draw: st.DrawFn) -> bytes:
    """Any v2 data batch that a log may hold."""
    kept = sorted(draw(st.sets(st.integers(0, 8), min_size=1, max_size=6)))
    records = [
        Rec(
            delta,
            draw(BYTES),
            draw(BYTES),
            draw(st.integers(0, 2**40)),
            tuple(draw(st.lists(st.tuples(TEXT, BYTES), max_size=2))),
        )
        for delta in kept
    ]
    attributes = draw(st.integers(0, 4)) | draw(st.sampled_from([0, TRANSACTIONAL]))
    last = kept[-1] + draw(st.integers(0, 2))
    return batch(draw(st.integers(0, 2**62)), records, attributes=attributes, last_delta=last, producer=(5, 1, 77))


def read(data: bytes | bytearray) -> list[tuple[object, ...]]:
    """What kafka-python's reader sees, whose checksum is its own."""
    reader, out = MemoryRecords(bytes(data)), []
    while (found := reader.next_batch()) is not None:
        assert found.validate_crc()
        base = found.base_offset
        out += [(r.offset - base, r.timestamp, r.key, r.value, [(k, v) for k, v in r.headers]) for r in found]
    return out


@given(batches(), st.integers(0, 2**62), st.integers(0, 2**15 - 1), st.integers(0, 2**31 - 1))
def test_stamp_changes_the_header_alone_and_keeps_it_valid(data: bytes, pid: int, epoch: int, sequence: int) -> None:
    stamped = bytearray(data)
    wire.stamp(memoryview(stamped), pid, epoch, sequence)
    before, after = wire.header(memoryview(data)), wire.header(memoryview(stamped))
    assert after == before._replace(
        base_offset=0,
        leader_epoch=-1,
        crc=after.crc,
        attributes=before.attributes & ~TRANSACTIONAL,
        producer_id=pid,
        producer_epoch=epoch,
        base_sequence=sequence,
    )
    assert wire.is_intact(memoryview(stamped))
    assert stamped[61:] == data[61:]
    assert read(stamped) == read(data)


@given(batches())
def test_decode_sees_what_kafka_python_sees(data: bytes) -> None:
    base = wire.header(memoryview(data)).base_offset
    found = [(r.offset - base, r.timestamp, r.key, r.value, list(r.headers)) for r in wire.decode(memoryview(data))]
    assert found == read(data)


@given(batches(), st.data())
def test_a_flipped_bit_is_seen(data: bytes, more: st.DataObject) -> None:
    assert wire.is_intact(memoryview(data))
    bit = more.draw(st.integers(17 * 8, len(data) * 8 - 1))
    damaged = bytearray(data)
    damaged[bit // 8] ^= 1 << bit % 8
    assert not wire.is_intact(memoryview(damaged))


@given(batches(), st.binary(max_size=40), st.data())
def test_decode_of_damaged_bytes_is_a_value_error(data: bytes, noise: bytes, more: st.DataObject) -> None:
    at = more.draw(st.integers(0, len(data)))
    damaged = data[:at] + noise + data[at + len(noise) :]
    with contextlib.suppress(ValueError):
        wire.decode(memoryview(damaged))


@given(st.lists(batches(), max_size=4), st.data())
def test_split_gives_whole_batches(data: list[bytes], more: st.DataObject) -> None:
    whole = b"".join(data)
    cut = more.draw(st.integers(0, len(whole)))
    found = [bytes(raw.data) for raw in wire.split(memoryview(whole[:cut]))]
    expected, used = [], 0
    for item in data:
        used += len(item)
        if used <= cut:
            expected.append(item)
    assert found == expected


def test_split_tells_format_and_offset() -> None:
    data = message(3, b"a", magic=0) + message_set(4, 3, magic=1) + dense(7, 2)
    found = [(raw.base_offset, raw.magic) for raw in wire.split(memoryview(data))]
    assert found == [(3, 0), (6, 1), (7, 2)]


@pytest.mark.parametrize("length", [-(2**31), -1, 0, 4])
def test_split_of_an_impossible_length_is_a_value_error(length: int) -> None:
    data = bytearray(dense(7, 1))
    struct.pack_into(">i", data, 8, length)
    with pytest.raises(ValueError, match="at offset 7"):
        list(wire.split(memoryview(data)))


def test_first_batch_bytes() -> None:
    data = dense(7, 100)
    for cut in (12, 20, len(data)):
        assert wire.first_batch_bytes(memoryview(data[:cut])) == len(data)
    assert wire.first_batch_bytes(memoryview(data[:11])) is None


def test_header_properties() -> None:
    found = wire.header(memoryview(batch(10, [Rec(0), Rec(2)], last_delta=4)))
    assert (found.last_offset, found.record_count, found.dense) == (14, 2, False)
    assert wire.header(memoryview(dense(10, 3))).dense


def test_decode_of_special_batches() -> None:
    assert wire.decode(memoryview(marker(3, 9, commit=True))) == []
    append_time = batch(0, [Rec(0, at=5), Rec(1, at=6)], attributes=LOG_APPEND_TIME, max_timestamp=99)
    assert [r.timestamp for r in wire.decode(memoryview(append_time))] == [99, 99]


@pytest.mark.parametrize("magic", [0, 1])
@pytest.mark.parametrize("codec", [0, 1])
def test_decode_of_old_formats(magic: int, codec: int) -> None:
    builder = MemoryRecordsBuilder(magic, codec, 10_000, offset=0)
    for i in range(3):
        builder.append(1000 + i, b"k", b"%d" % i)
    builder.close()
    raws = list(wire.split(memoryview(builder.buffer())))
    records = [record for raw in raws for record in wire.decode(raw.data)]
    assert [(r.offset, r.value) for r in records] == [(0, b"0"), (1, b"1"), (2, b"2")]
    assert len(raws) == (1 if codec else 3)


@pytest.mark.parametrize("magic", [0, 1])
def test_decode_checks_the_checksum_of_old_formats(magic: int) -> None:
    data = bytearray(message(0, b"value", magic=magic))
    data[-1] ^= 1
    with pytest.raises(ValueError, match="checksum"):
        wire.decode(memoryview(data))


def test_same_records() -> None:
    a = batch(5, [Rec(0), Rec(1)])
    same = wire.same_records
    assert same(memoryview(a), memoryview(batch(5, [Rec(0), Rec(1)], attributes=TRANSACTIONAL, producer=(1, 2, 3))))
    others = (
        batch(6, [Rec(0), Rec(1)]),
        batch(5, [Rec(0), Rec(1)], last_delta=2),
        batch(5, [Rec(0, b"V"), Rec(1)]),
        batch(5, [Rec(0), Rec(1)], max_timestamp=1),
        batch(5, [Rec(0, at=1), Rec(1, at=1)]),
        batch(5, [Rec(0), Rec(1)], attributes=CONTROL),
    )
    for other in others:
        assert not same(memoryview(a), memoryview(other))


@pytest.mark.parametrize("size", [0, 5, 17 - 12, 40, 2**31 - 1, -1])
def test_the_epoch_before_what_cannot_be_read(size: int) -> None:
    whole = dense(0, 3)
    damaged = bytearray(dense(1, 3))
    struct.pack_into(">i", damaged, 8, size)
    assert wire.epoch_before(memoryview(whole + bytes(damaged)), 3, {}) in {
        wire.header(memoryview(whole)).leader_epoch,
        -1,
        0,
    }
