"""The hot loop of merging in C and in Python: the same for any bytes, good or bad."""

import shutil
import sysconfig
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kmirror.wire.moved import moved_slowly
from support.batches import Rec, batch, varint

Moved = Callable[[list[bytes | memoryview], list[int], list[int]], tuple[bytearray, int]]

int64 = st.integers(-(2**63), 2**63 - 1)
near = st.integers(-300, 300) | int64 | st.integers(-(2**70), 2**70)
numbers = st.integers(-70, 200) | st.integers(-20_000, 20_000) | near


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Moved:
    """Built here, so that it is never an old one that is compared."""
    if shutil.which((sysconfig.get_config_var("LDSHARED") or "cc").split()[0]) is None:
        pytest.skip("no C compiler: there is no twin to compare")
    return _build(tmp_path_factory.mktemp("moved"))


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


@given(st.lists(st.tuples(payloads() | st.binary(max_size=40), st.integers(-1, 6), near), max_size=5))
@example([(b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x02\0\0\0", 1, 0)])
@example([(b"\x88\x00\0\0\0\1", 1, 0)])
@example([(batch(0, [Rec(0)])[61:], 1, 2**63 - 1), (batch(0, [Rec(0)])[61:], 1, -(2**63))])
def test_the_compiled_twin_does_the_same(compiled: Moved, parts: list[tuple[bytes, int, int]]) -> None:
    lists = [list(column) for column in zip(*parts, strict=True)] or [[], [], []]
    assert compiled(*lists) == moved_slowly(*lists)


@given(
    st.lists(st.lists(st.tuples(st.binary(max_size=200), int64), min_size=1, max_size=70), min_size=1, max_size=3),
    st.integers(-(2**40), 2**40),
)
def test_records_as_they_are_in_a_log(compiled: Moved, lots: list[list[tuple[bytes, int]]], later: int) -> None:
    found = [batch(0, [Rec(i, value, at=at) for i, (value, at) in enumerate(lot)])[61:] for lot in lots]
    lists = found, [len(lot) for lot in lots], [later * number for number in range(len(lots))]
    assert compiled(*lists) == moved_slowly(*lists)


def test_long_ones(compiled: Moved) -> None:
    found = [batch(0, [Rec(i, bytes(i % 9 * 3000), at=i * i) for i in range(500)])[61:] for _ in range(40)]
    lists = found, [500] * 40, [number * 1000 for number in range(40)]
    out, parts = compiled(*lists)
    assert (out, parts) == moved_slowly(*lists)
    assert parts == 40


@pytest.mark.parametrize("lists", [([b""], [], []), ([b""], [1], []), ([b"", b""], [1], [0])])
def test_lists_of_other_lengths_are_refused(compiled: Moved, lists: tuple) -> None:
    with pytest.raises(ValueError):
        compiled(*lists)


@pytest.mark.parametrize("lists", [([7], [1], [0]), ([b"abcd"], ["1"], [0]), ([b"\6\0\0\0"], [1], [None])])
def test_what_is_no_payload_is_refused(compiled: Moved, lists: tuple) -> None:
    with pytest.raises(TypeError):
        compiled(*lists)


def _build(directory: Path) -> Moved:
    """By the build hook of the package."""
    import importlib.util

    root = Path(__file__).parents[2]
    hook = importlib.util.spec_from_file_location("hatch_build", root / "hatch_build.py")
    assert hook
    assert hook.loader
    build = importlib.util.module_from_spec(hook)
    hook.loader.exec_module(build)
    target = directory / "_moved.abi3.so"
    assert build._compile(root / "src" / "kmirror" / "wire" / "_moved.c", target)
    found = importlib.util.spec_from_file_location("_moved", target)
    assert found
    assert found.loader
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module.moved
