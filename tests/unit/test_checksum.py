"""A checksum that is carried over is the one of the whole."""

from crc32c import crc32c
from hypothesis import given
from hypothesis import strategies as st

from kmirror.wire import batch as wire
from kmirror.wire.checksum import crc_after
from support.batches import Rec, batch, dense

LENGTHS = st.integers(0, 9000) | st.sampled_from([4096, 8192, 130_000, 1 << 20, (1 << 20) + 4095, (1 << 20) + 4096])


@given(st.binary(min_size=40, max_size=40), st.binary(min_size=40, max_size=40), LENGTHS, st.binary(min_size=1))
def test_it_is_the_checksum_of_the_whole(before: bytes, after: bytes, length: int, pattern: bytes) -> None:
    rest = memoryview((pattern * (length // len(pattern) + 1))[:length])
    crc = crc32c(rest, crc32c(before))
    assert crc_after(crc, before, after, len(rest)) == crc32c(rest, crc32c(after))


@given(st.binary(max_size=300), st.integers(0, 300))
def test_what_is_missing_of_a_batch_stays_as_it_is(value: bytes, missing: int) -> None:
    whole, cut = bytearray(batch(3, [Rec(0, value)])), bytearray(batch(3, [Rec(0, value)]))
    kept = max(wire.HEADER_BYTES, len(cut) - missing)
    wire.stamp(memoryview(whole), 7, 1, 2)
    wire.stamp(memoryview(cut)[:kept], 7, 1, 2, len(cut) - kept)
    assert whole == cut


def test_what_is_damaged_on_the_way_stays_damaged() -> None:
    """The broker at the destination sees a byte that changed in our memory: the checksum is not made anew."""
    data = memoryview(bytearray(dense(0, 5)))
    assert wire.is_intact(data)
    data[-1] ^= 1
    wire.stamp(data, 7, 0, 0)
    assert not wire.is_intact(data)
