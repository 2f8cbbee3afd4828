"""What is merged before it is sent: small neighbours of one codec, up to a size; all else goes as it is."""

from collections import deque

import pytest

from kmirror.engine.coalesce import MERGED_BYTES, PACKED_BYTES, SMALL_BYTES, before, run_bytes, take
from kmirror.engine.steps import Append, Fill, Gap
from kmirror.engine.translate import translate
from kmirror.wire import batch as wire
from support.batches import CONTROL, Rec, batch, dense

SMALL = 1000


def queue(*batches: bytes) -> deque[Append | Fill]:
    out: deque[Append | Fill] = deque()
    for data in batches:
        out.extend(runs(data, most=(0, 0)))
    return out


def runs(*batches: bytes, most: tuple[int, int] = (SMALL_BYTES, MERGED_BYTES)) -> deque[Append | Fill]:
    """As they come in one fetch."""
    log = memoryview(bytearray().join(batches))
    found = list(translate(log, wire.base_offset(log), (), most))
    assert all(isinstance(step, Append | Fill) for step in found)
    return deque(step for step in found if isinstance(step, Append | Fill))


def sized(base: int, size: int = SMALL, codec: int = 0, at: int = 1000) -> bytes:
    return batch(base, [Rec(0, b"\7" * (size - 61 - 9), at=at)], attributes=codec)


def sent(waiting: deque[Append | Fill], most_bytes: int = MERGED_BYTES) -> list[tuple[int, int, int]]:
    """(base, count, batches of the source) of what is sent, until a gap or the end."""
    out = []
    while waiting and isinstance(waiting[0], Append):
        step, _ = take(waiting, most_bytes)
        out.append((step.base, step.count, step.source_batches))
    return out


def test_all_that_waits_is_merged_up_to_the_limit() -> None:
    waiting = queue(*(sized(base) for base in range(2000)))
    size = waiting[0].size
    most = MERGED_BYTES // size
    assert sent(waiting)[:2] == [(0, most, most), (most, most, most)]
    assert not waiting


@pytest.mark.parametrize("came", [10_000, MERGED_BYTES, MERGED_BYTES + 1, 1 << 20, 3 << 20])
def test_what_a_fetch_brings_becomes_batches_of_about_one_size(came: int) -> None:
    log = memoryview(b"".join(sized(base, SMALL_BYTES - 100) for base in range(max(1, came // SMALL_BYTES))))
    sizes = [step.size for step in runs(bytes(log), most=(SMALL_BYTES, run_bytes(log, MERGED_BYTES)))]
    assert sum(sizes) == len(log)
    assert max(sizes) <= MERGED_BYTES
    assert max(sizes) - min(sizes) <= len(sizes) * SMALL_BYTES
    assert len(sizes) == -(-sum(sizes) // MERGED_BYTES)


def test_how_large_runs_are_to_be() -> None:
    assert run_bytes(memoryview(sized(0)), MERGED_BYTES) == MERGED_BYTES, "one holds all"
    assert run_bytes(memoryview(sized(0, codec=3)), MERGED_BYTES) == PACKED_BYTES, "it is unpacked and packed at once"
    assert run_bytes(memoryview(bytes(5_000_000)), 0) == 0, "merging is off"
    assert run_bytes(memoryview(b""), MERGED_BYTES) == MERGED_BYTES


@pytest.mark.parametrize("together", [0, MERGED_BYTES])
def test_short_records_do_not_become_a_batch_that_is_too_large(together: int) -> None:
    """What counts from the start of a batch takes more bytes in a larger one: of records of one byte a third more."""
    short = [batch(base, [Rec(n, b"v", at=base * 20 + n) for n in range(900)]) for base in range(0, 90_000, 900)]
    waiting = runs(*short, most=(SMALL_BYTES, together))
    sizes, position = [], 0
    while waiting:
        step, _ = take(waiting, MERGED_BYTES)
        assert step.base == position
        position = step.end
        sizes.append(step.size)
    assert position == 90_000
    assert max(sizes) <= 1.15 * MERGED_BYTES < 1_048_588, "max.message.bytes"
    assert len(sizes) <= 3


@pytest.mark.parametrize("most_bytes", [0, 1, SMALL, 3 * SMALL, 20 * SMALL + 7, MERGED_BYTES])
@pytest.mark.parametrize("together", [SMALL, 5 * SMALL, MERGED_BYTES])
@pytest.mark.parametrize("codec", [0, 3])
def test_runs_are_merged_as_their_batches_are(most_bytes: int, together: int, codec: int) -> None:
    found = [sized(base, SMALL - base % 7, codec, at=1000 - base) for base in range(50)]
    waiting = runs(*found, most=(SMALL_BYTES, together))
    assert len(waiting) < 50 or together == SMALL
    held = sum(step.size for step in waiting)
    position, records = 0, []
    while waiting:
        step, size = take(waiting, most_bytes)
        held -= size
        assert step.base == position
        assert wire.header(step.batch).dense
        position = step.end
        assert step.max_timestamp == 1000 - step.base
        records += [r._replace(offset=step.base + index) for index, r in enumerate(wire.decode(step.batch))]
        assert size <= max(most_bytes, SMALL)
    assert (position, held) == (50, 0)
    assert records == [record for data in found for record in wire.decode(memoryview(data))]


@pytest.mark.parametrize("odd", [0, 1, 4, 9])
def test_a_batch_in_a_run_whose_records_can_not_be_read_goes_as_it_is(odd: int) -> None:
    found = [bytearray(sized(base)) for base in range(10)]
    found[odd][62] = 1
    wire.seal(memoryview(found[odd]))
    waiting = runs(*found)
    assert len(waiting) == 1
    rest = [(0, odd, odd), (odd, 1, 1), (odd + 1, 9 - odd, 9 - odd)]
    assert sent(waiting) == [part for part in rest if part[1]]


@pytest.mark.parametrize("offset", range(1, 9))
def test_the_part_of_a_run_before_an_offset(offset: int) -> None:
    (run,) = runs(*(dense(base, 2) for base in range(0, 8, 2)))
    assert isinstance(run, Append)
    part = before(run, offset)
    batches = (offset + 1) // 2
    assert (part.base, part.count, part.source_batches) == (0, 2 * batches, batches)
    assert bytes(part.batch) == bytes(run.batch[: batches * len(dense(0, 2))])
    assert before(part, 9) is part


def test_timestamps_and_bytes_of_what_was_merged() -> None:
    waiting = queue(sized(5, at=50), sized(6, at=70), sized(7, at=60))
    held = sum(step.size for step in waiting)
    step, size = take(waiting, MERGED_BYTES)
    assert (step.base, step.end, step.base_timestamp, step.max_timestamp, size) == (5, 8, 50, 70, held)
    assert step.size == len(step.batch) < held


def test_one_alone_is_sent_as_it_is_and_so_is_each_when_merging_is_off() -> None:
    waiting = queue(sized(0), sized(1))
    first, second = waiting
    assert isinstance(first, Append)
    assert isinstance(second, Append)
    assert take(waiting, 0) == (first, first.size)
    step, size = take(waiting, MERGED_BYTES)
    assert step is second
    assert size == second.size


@pytest.mark.parametrize(
    ("batches", "expected"),
    [
        ([sized(0), sized(1), sized(2, 40_000), sized(3), sized(4)], [(0, 2, 2), (2, 1, 1), (3, 2, 2)]),
        ([sized(0), sized(1), sized(2, codec=3), sized(3, codec=3), sized(4)], [(0, 2, 2), (2, 2, 2), (4, 1, 1)]),
        ([sized(0, codec=1), sized(1, codec=1)], [(0, 1, 1), (1, 1, 1)]),
        ([sized(0), sized(1), dense(2, 3, attributes=0x40), sized(5)], [(0, 2, 2), (2, 3, 1), (5, 1, 1)]),
        ([sized(0), sized(1), batch(2, [Rec(0)], attributes=CONTROL), sized(3)], [(0, 2, 2)]),
    ],
)
def test_what_ends_a_run(batches: list[bytes], expected: list[tuple[int, int, int]]) -> None:
    assert sent(queue(*batches)) == expected


def test_a_gap_is_left_for_its_filler() -> None:
    waiting = queue(sized(0), sized(1))
    waiting.append(Fill(2, 5, Gap.HOLE))
    waiting.extend(queue(sized(7)))
    assert sent(waiting) == [(0, 2, 2)]
    assert waiting[0] == Fill(2, 5, Gap.HOLE)


def test_a_batch_whose_records_can_not_be_read_goes_as_it_is() -> None:
    """Its checksum fits: what is wrong with it is for the destination to say."""
    waiting = queue(sized(0), sized(1), sized(2), sized(3), sized(4))
    odd = waiting[2]
    assert isinstance(odd, Append)
    odd.batch[62] = 1
    assert sent(waiting) == [(0, 2, 2), (2, 1, 1), (3, 2, 2)]
