"""Kafka's variable-length integers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmirror.wire.varint import encode_unsigned, read_unsigned, skip_tags


@given(st.integers(0, 2**35 - 1), st.binary(max_size=4), st.binary(max_size=4))
def test_round_trip_between_other_bytes(value: int, before: bytes, after: bytes) -> None:
    packed = encode_unsigned(value)
    assert len(packed) == max(1, -(-value.bit_length() // 7))
    assert read_unsigned(before + packed + after, len(before)) == (value, len(before) + len(packed))


@pytest.mark.parametrize(
    ("value", "packed"),
    [(0, b"\0"), (127, b"\x7f"), (128, b"\x80\1"), (300, b"\xac\2"), (2**32 - 1, b"\xff" * 4 + b"\x0f")],
)
def test_bytes_are_those_of_the_protocol(value: int, packed: bytes) -> None:
    assert encode_unsigned(value) == packed


@pytest.mark.parametrize("cut", [b"", b"\x80", b"\xff\xff\xff\xff"])
def test_an_end_too_early_is_an_index_error(cut: bytes) -> None:
    with pytest.raises(IndexError):
        read_unsigned(cut, 0)


def test_six_bytes_are_too_many() -> None:
    with pytest.raises(ValueError, match="five bytes"):
        read_unsigned(b"\x80" * 5 + b"\1", 0)


@given(st.lists(st.tuples(st.integers(0, 2**20), st.binary(max_size=200)), max_size=5), st.binary(max_size=5))
def test_tags_are_skipped_whole(tags: list[tuple[int, bytes]], after: bytes) -> None:
    section = encode_unsigned(len(tags)) + b"".join(encode_unsigned(t) + encode_unsigned(len(b)) + b for t, b in tags)
    assert skip_tags(b"xx" + section + after, 2) == 2 + len(section)
