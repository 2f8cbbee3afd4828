"""What a codec packs it unpacks; what would be more than it may be is refused before it takes the memory."""

import gzip
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmirror.wire.compression import GZIP, LZ4, SNAPPY, ZSTD, compress, decompress

CODECS = (0, GZIP, SNAPPY, LZ4, ZSTD)


@pytest.mark.parametrize("codec", CODECS)
@given(data=st.binary(max_size=2000), times=st.sampled_from([1, 3, 2000]))
def test_there_and_back(codec: int, data: bytes, times: int) -> None:
    assert bytes(decompress(codec, memoryview(compress(codec, data * times)))) == data * times


def test_gzip_of_several_members() -> None:
    assert decompress(GZIP, memoryview(gzip.compress(b"one ") + gzip.compress(b"two"))) == b"one two"


@pytest.mark.parametrize("codec", [GZIP, SNAPPY, LZ4, ZSTD])
def test_a_bomb_is_refused_before_it_takes_memory(codec: int) -> None:
    bomb = memoryview(compress(codec, bytes(64 << 20)))
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="more than 4194304 bytes"):
            decompress(codec, bomb, 4 << 20)
        assert tracemalloc.get_traced_memory()[1] < len(bomb) * 3 + (8 << 20)
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "codec", [GZIP, SNAPPY, LZ4]
)  # of zstd what is there comes: the records say that they are more
def test_what_is_cut_off_is_an_error(codec: int) -> None:
    whole = compress(codec, bytes(range(256)) * 100)
    with pytest.raises(Exception):  # noqa: B017  # each codec has errors of its own
        assert len(decompress(codec, memoryview(whole)[:-5])) == 0


def test_a_raw_snappy_that_claims_gigabytes() -> None:
    with pytest.raises(ValueError, match="more than"):
        decompress(SNAPPY, memoryview(b"\xff\xff\xff\xff\x0f" + b"x" * 20))


@pytest.mark.parametrize("codec", [5, 6, 7])
def test_a_codec_that_nobody_knows(codec: int) -> None:
    for act in (lambda: decompress(codec, memoryview(b"x")), lambda: compress(codec, b"x")):
        with pytest.raises(ValueError, match="unknown"):
            act()
