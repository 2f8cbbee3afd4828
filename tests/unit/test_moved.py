"""The hot loops in C and in Python, of reading batches and of merging them: the same for any bytes, good or bad."""

import struct
from types import ModuleType

import pytest
from crc32c import crc32c
from hypothesis import example, given
from hypothesis import strategies as st

from kmirror.wire.batch import HEADER_BYTES, NO_OFFSET, stamp_slowly
from kmirror.wire.moved import moved_slowly
from kmirror.wire.scan import scan_slowly
from support.batches import TRANSACTIONAL, Rec, batch, dense, varint
from support.compiled import compiled as built
from support.source_log import SourceLog, source_logs

int64 = st.integers(-(2**63), 2**63 - 1)
near = st.integers(-300, 300) | int64 | st.integers(-(2**70), 2**70)
numbers = st.integers(-70, 200) | st.integers(-20_000, 20_000) | near


@pytest.fixture(scope="module")
def compiled() -> ModuleType:
    return built("_batches")


@st.composite
def payloads(draw: st.DrawFn) -> bytes:
    """Records, of which some are not quite as they have to be."""
    out = b""
    for index in range(draw(st.integers(0, 5))):
        delta = draw(st.just(index) | numbers) if draw(st.integers(0, 9)) == 0 else index
        content = draw(st.sampled_from([b"\0"] * 9 + [b"\1"])) + varint(draw(numbers)) + varint(delta)
        content += draw(st.binary(max_size=90))
        size = len(content) if draw(st.integers(0, 9)) else draw(numbers)
        out += varint(size) + content
    return out + draw(st.sampled_from([b""] * 9 + [b"\0", b"\x80", b"\xff" * 11]))


def headed(payload: bytes, count: int, begins: int, latest: int = 0) -> bytes:
    """A batch of these records, of which only the header is right."""
    length = HEADER_BYTES - 12 + len(payload)
    head = struct.pack(">qiibIhiqqqhii", 0, length, -1, 2, 0, 0, count - 1, begins, latest, -1, -1, -1, count)
    return head + payload


some_batches = st.builds(headed, payloads() | st.binary(max_size=40), st.integers(-1, 6), int64, int64)
runs = st.lists(st.lists(some_batches, max_size=3).map(b"".join) | st.binary(max_size=130), max_size=4)


@given(runs)
@example([headed(b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x02\0\0\0", 1, 0)])
@example([headed(b"\x88\x00\0\0\0\1", 1, 0)])
@example([headed(dense(0, 1)[61:], 1, 0) + headed(dense(0, 1)[61:], 1, 2**63 - 1), headed(b"", 1, -(2**63))])
@example([headed(dense(0, 1)[61:], 1, -(2**63)), headed(dense(0, 1)[61:], 1, 2**63 - 1)])
@example([headed(dense(0, 1)[61:], 1, 5, -7), headed(dense(0, 1)[61:], 1, 5, -9)])
def test_the_compiled_twin_does_the_same(compiled: ModuleType, found: list[bytes]) -> None:
    assert compiled.moved(found) == moved_slowly([*found])


@given(runs, st.data())
def test_a_cut_batch_ends_it(compiled: ModuleType, found: list[bytes], data: st.DataObject) -> None:
    whole = b"".join(found)
    cut = whole[: data.draw(st.integers(0, len(whole)))]
    assert compiled.moved([cut]) == moved_slowly([cut])


@given(
    st.lists(st.lists(st.tuples(st.binary(max_size=200), int64), min_size=1, max_size=70), min_size=1, max_size=3),
    st.integers(-(2**40), 2**40),
)
def test_records_as_they_are_in_a_log(compiled: ModuleType, lots: list[list[tuple[bytes, int]]], later: int) -> None:
    found = [
        headed(batch(0, [Rec(i, value, at=at) for i, (value, at) in enumerate(lot)])[61:], len(lot), later * number)
        for number, lot in enumerate(lots)
    ]
    assert compiled.moved(found) == moved_slowly([*found])


def test_long_ones(compiled: ModuleType) -> None:
    payload = batch(0, [Rec(i, bytes(i % 9 * 3000), at=i * i) for i in range(500)])[61:]
    found = [headed(payload, 500, number * 1000, number) for number in range(40)]
    out = compiled.moved(found)
    assert out == moved_slowly([*found])
    assert out == compiled.moved([b"".join(found)]), "in one run or in many"
    assert out[1:] == (40, 20_000, 39)


@pytest.mark.parametrize("wrong", [(b"",), 7, [7], ["abcd"]])
def test_what_is_no_run_is_refused(compiled: ModuleType, wrong: object) -> None:
    with pytest.raises(TypeError):
        compiled.moved(wrong)


sizes = st.tuples(st.sampled_from([0, 90, 300, 20_000]), st.sampled_from([0, 500, 131_072]))
committed = st.sampled_from([-1, 0, NO_OFFSET]) | st.integers(0, 40)


@given(source_logs(), sizes, committed, st.data())
def test_the_compiled_scan_does_the_same(
    compiled: ModuleType, log: SourceLog, most: tuple[int, int], committed: int, data: st.DataObject
) -> None:
    position = data.draw(st.integers(0, log.end))
    records = bytearray(log.fetch(position, None)[0])
    for _ in range(data.draw(st.integers(0, 2)) if records else 0):
        records[data.draw(st.integers(0, len(records) - 1))] = data.draw(st.integers(0, 255))
    view = memoryview(records)
    view = view[: data.draw(st.integers(0, len(view)))]
    asked = view, position, committed, most, crc32c
    assert compiled.scan(*asked) == scan_slowly(*asked)


def test_runs_are_of_one_codec_one_epoch_small_and_not_too_long(compiled: ModuleType) -> None:
    log = bytearray().join(
        [
            *(dense(base, 2) for base in range(0, 10, 2)),
            *(dense(base, 2, attributes=TRANSACTIONAL | 3) for base in range(10, 20, 2)),
            *(dense(base, 2, attributes=1) for base in range(20, 24, 2)),  # gzip is never merged
            batch(24, [Rec(0, bytes(300))]),
            batch(25, [Rec(0, at=7_000), Rec(1, at=6_000)]),
            batch(27, [Rec(0, at=5_000), Rec(1, at=5_000)]),
        ]
    )
    struct.pack_into(">i", log, 2 * len(dense(0, 2)) + 12, 6)  # the leader epoch of the third
    packed = [len(dense(base, 2, attributes=3)) for base in range(10, 20, 2)]
    most = (250, sum(packed[:3]))
    found = compiled.scan(memoryview(log), 0, NO_OFFSET, most, crc32c)
    counts = [(batches, records) for _, batches, records, _, _ in found]
    assert counts[:5] == [(2, 4), (1, 2), (2, 4), (3, 6), (2, 4)]
    assert counts[5:] == [(1, 2), (1, 2), (1, 1), (2, 4)]
    assert found[-1][0] == len(log)
    assert found[-1][3:] == (7_000, 7_000)
    assert found == scan_slowly(memoryview(log), 0, NO_OFFSET, most, crc32c)


def test_a_checksum_that_can_not_be_made_is_told(compiled: ModuleType) -> None:
    def fails(_: object) -> int:
        raise MemoryError

    view = memoryview(dense(0, 2))
    with pytest.raises(MemoryError):
        compiled.scan(view, 0, 0, (0, 0), fails)
    with pytest.raises(TypeError):
        compiled.scan(view, 0, 0, (0, 0), str)


@example(bytes(61), 1_052_672, (0, 0, 0), 0)
@given(
    st.binary(min_size=61, max_size=300),
    st.just(0) | st.integers(0, 1_300_000),
    st.tuples(int64, st.integers(-(2**15), 2**15 - 1), st.integers(-(2**31), 2**31 - 1)),
    st.integers(0, 1_300_000),
)
def test_the_compiled_twin_stamps_alike(
    compiled: ModuleType, data: bytes, more: int, ours: tuple[int, int, int], missing: int
) -> None:
    here, there = bytearray(data) + bytes(more), bytearray(data) + bytes(more)
    compiled.stamp(memoryview(here), *ours, missing)
    stamp_slowly(memoryview(there), *ours, missing)
    assert here == there


def test_what_can_not_be_stamped(compiled: ModuleType) -> None:
    for stamp in (compiled.stamp, stamp_slowly):
        with pytest.raises(ValueError, match="not a batch"):
            stamp(memoryview(bytearray(60)), 1, 2, 3, 0)
    with pytest.raises((BufferError, TypeError)):
        compiled.stamp(memoryview(bytes(61)), 1, 2, 3, 0)
