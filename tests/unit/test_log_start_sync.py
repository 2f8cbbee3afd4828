"""LogStartSync: which log starts are moved."""

from hypothesis import given
from hypothesis import strategies as st

from kmirror.model.group_offsets import LogBounds
from kmirror.model.mirror import Mirror
from kmirror.model.states import MirrorState
from kmirror.tasks.log_start_sync import deletions

MIRROR = Mirror("copy", "orders", "s", "d", 1, MirrorState.ACTIVE, 0)
BOUNDS = st.tuples(st.integers(0, 50), st.integers(0, 50)).map(lambda pair: LogBounds(min(pair), max(pair)))


@given(BOUNDS, BOUNDS)
def test_a_log_start_only_moves_up_to_the_sources_and_never_beyond_the_log_end(
    source: LogBounds, there: LogBounds
) -> None:
    found = deletions(MIRROR, {("orders", 0): source}, {("copy", 0): there})
    start = found.get(0, there.start)
    assert start == max(there.start, min(source.start, there.end))
    assert 0 not in found or found[0] > there.start


def test_a_partition_that_one_side_does_not_have_is_left() -> None:
    assert deletions(MIRROR, {}, {("copy", 0): LogBounds(0, 9)}) == {}
    assert deletions(MIRROR, {("orders", 0): LogBounds(3, 9)}, {}) == {}
