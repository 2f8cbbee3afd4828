"""Memory of frames is used again only when nobody looks at it any more."""

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from kmirror.wire.buffers import BufferPool

SIZES = st.one_of(st.integers(0, 100_000), st.integers(60_000, 3_000_000))


class Pool(RuleBasedStateMachine):
    """Each view that is held keeps what was written into it, whatever is taken and let go meanwhile."""

    @initialize(kept=st.sampled_from([0, 1 << 20, 8 << 20]))
    def make(self, kept: int) -> None:
        self.pool = BufferPool(kept)
        self.held: dict[int, tuple[memoryview, bytes]] = {}
        self.number = 0

    @rule(size=SIZES, part=st.floats(0, 1))
    def take(self, size: int, part: float) -> None:
        frame = self.pool.take(size)
        assert len(frame) == size
        self.number += 1
        content = self.number.to_bytes(4) * (size // 4 + 1)
        frame[:] = content[:size]
        begin = int(size * part)
        self.held[self.number] = (frame[begin:], content[begin:size])  # a part keeps the whole

    @rule(data=st.data())
    def let_go(self, data: st.DataObject) -> None:
        if self.held:
            self.held.pop(data.draw(st.sampled_from(sorted(self.held))))
        for view, content in self.held.values():
            assert view == content

    @invariant()
    def what_is_held_is_counted(self) -> None:
        sizes = {id(view.obj): len(view.obj) for view, _ in self.held.values()} if hasattr(self, "held") else {}
        large = [size for size in sizes.values() if size > 64 << 10]
        assert not hasattr(self, "pool") or self.pool.held_bytes == sum(large)


TestPool = Pool.TestCase


def address(frame: memoryview) -> int:
    """Where the memory of a frame is; two views of one buffer share their `obj`."""
    return id(frame.obj)


def test_a_buffer_is_used_again_once_the_last_view_is_gone() -> None:
    pool = BufferPool(8 << 20)
    frame = pool.take(1_000_000)
    first, batch = address(frame), frame[500:600]
    del frame
    assert address(pool.take(1_000_000)) != first
    del batch
    assert first in {address(pool.take(900_000)), address(pool.take(900_000))}


def test_a_small_frame_does_not_hold_a_large_buffer() -> None:
    pool = BufferPool(8 << 20)
    large = address(pool.take(4_000_000))
    small = pool.take(70_000)
    assert address(small) != large
    assert len(small.obj) < 1_000_000


@given(st.lists(SIZES, max_size=60))
def test_no_more_is_kept_than_allowed(sizes: list[int]) -> None:
    pool = BufferPool(4 << 20)
    held = []
    for number, size in enumerate(sizes):
        held.append(pool.take(size))
        if number % 3 == 0:
            held.clear()
        assert pool.kept_bytes <= 4 << 20


def test_unused_buffers_of_other_sizes_make_room() -> None:
    pool = BufferPool(4 << 20)
    for size in (100_000, 500_000, 4_000_000):
        pool.take(size)
    first = address(pool.take(4_000_000))
    second = address(pool.take(4_000_000))
    assert first == second
