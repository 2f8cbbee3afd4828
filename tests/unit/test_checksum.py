"""A checksum that is carried over is the one of the whole."""

from crc32c import crc32c
from hypothesis import given
from hypothesis import strategies as st

from kmirror.wire import batch as wire
from kmirror.wire.checksum import crc_after
from support.batches import dense

LENGTHS = st.integers(0, 9000) | st.sampled_from([4096, 8192, 130_000, 1 << 20, (1 << 20) + 4095, (1 << 20) + 4096])


@given(st.binary(min_size=40, max_size=40), st.binary(min_size=40, max_size=40), LENGTHS, st.binary(min_size=1))
def test_it_is_the_checksum_of_the_whole(before: bytes, after: bytes, length: int, pattern: bytes) -> None:
    rest = memoryview((pattern * (length // len(pattern) + 1))[:length])
    crc = crc32c(rest, crc32c(before))
    assert crc_after(crc, before, after, rest) == crc32c(rest, crc32c(after))


def test_what_is_damaged_on_the_way_stays_damaged() -> None:
    """The broker at the destination sees a byte that changed in our memory: the checksum is not made anew."""
    data = memoryview(bytearray(dense(0, 5)))
    assert wire.is_intact(data)
    data[-1] ^= 1
    wire.stamp(data, 7, 0, 0)
    assert not wire.is_intact(data)
