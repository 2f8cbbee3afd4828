"""Where an old source differs, what it alone has, and whether it may go on as it is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmirror.admin.adoption import kept_configs
from kmirror.admin.cluster import Origin, TopicConfig
from kmirror.errors import Conflict
from kmirror.model.states import MirrorState
from kmirror.ops.restore_plan import PartitionCut, can_be_adopted, check_alone, cuts_of
from kmirror.ops.verify_plan import Facts, Selection, plan_topic
from support.recorded import a_link, a_mirror


def facts(old: list[tuple[int, int]], new: list[tuple[int, int]]) -> Facts:
    """(log start, log end) of each partition on both sides."""
    return Facts(
        source_starts=[start for start, _ in old],
        source_ends=[end for _, end in old],
        starts=[start for start, _ in new],
        stable_ends=[end for _, end in new],
        ends=[end for _, end in new],
        since=None,
        compacted=False,
    )


def only(old: tuple[int, int], new: tuple[int, int], ended: int, first: int | None = None) -> tuple[PartitionCut, bool]:
    found = facts([old], [new])
    (cut,) = cuts_of([ended], found, {} if first is None else {0: first})
    return cut, can_be_adopted([cut], found)


@pytest.mark.parametrize(
    ("old", "new", "ended", "first", "saved", "adopted"),
    [
        ((0, 30), (0, 42), 30, None, (range(0), range(30, 30)), True),  # nothing of its own
        ((0, 20), (0, 42), 30, None, (range(0), range(20, 20)), True),  # it lost its end, and nothing else
        ((0, 35), (0, 42), 30, None, (range(0), range(30, 35)), False),  # written to after the failover
        ((0, 35), (0, 42), 30, 10, (range(0), range(10, 35)), False),  # it went another way before
        ((0, 30), (0, 42), 30, 29, (range(0), range(29, 30)), False),
        ((0, 30), (10, 42), 30, None, (range(10), range(30, 30)), True),  # what is older may stay where it is
        ((0, 31), (10, 42), 30, None, (range(10), range(30, 31)), False),
        ((0, 20), (25, 42), 30, None, (range(20), range(20, 20)), False),  # it ends below where the new one begins
        ((0, 30), (0, 25), 30, None, (range(0), range(25, 30)), False),  # the new source lost its end
        ((50, 50), (0, 42), 30, None, (range(50, 0), range(50, 50)), True),
    ],
)
def test_one_partition(old, new, ended, first, saved, *, adopted):
    cut, may_stay = only(old, new, ended, first)
    assert [list(cut.older), list(cut.later)] == [list(span) for span in saved]
    assert may_stay is adopted


def test_partitions_that_only_the_old_source_has_are_saved_whole() -> None:
    found = facts([(0, 30), (3, 9)], [(0, 30)])
    cuts = cuts_of([30], found, {})
    assert cuts[1] == PartitionCut(1, 3, range(3, 0), range(3, 9))
    assert not can_be_adopted(cuts, found)
    grown = facts([(0, 30)], [(0, 30), (0, 5)])
    assert can_be_adopted(cuts_of([30, 0], grown, {}), grown)


SPANS = st.tuples(st.integers(0, 20), st.integers(0, 20)).map(lambda pair: (min(pair), max(pair)))


@given(SPANS, SPANS, st.integers(0, 20), st.none() | st.integers(0, 20))
def test_every_offset_is_saved_or_equal_at_the_new_source(old, new, ended, first):
    """What is neither saved nor adopted lies where both logs were compared and found to be equal."""
    cut, adopted = only(old, new, ended, first)
    saved = {offset for span in cut.spans for offset in span}
    assert len(saved) == sum(len(span) for span in cut.spans)
    for offset in set(range(*old)) - saved:
        assert offset in range(*new)
        assert offset < ended
        assert first is None or offset < first or first >= old[1]
    assert not adopted or not cut.later


def test_an_adopted_log_is_compared_on_both_sides_of_where_it_was_adopted() -> None:
    mirror = a_mirror(partitions=1, adopted_ends=(20,))
    plan = plan_topic(mirror, Selection(), facts([(5, 42)], [(0, 42)]), ()).plan
    assert plan.partitions[0].spans == (range(5, 20), range(20, 42))
    assert plan.partitions[0].adopted_end == 20


def test_another_live_mirror_keeps_the_topic() -> None:
    link = a_link("east-west", a_mirror(state=MirrorState.STOPPED))
    second = a_link("second", a_mirror("copy", MirrorState.PAUSED))
    over = a_link("over", a_mirror("old", MirrorState.FAILED))
    check_alone({"east-west": link, "over": over}, link, "src-orders", "back")
    with pytest.raises(Conflict, match='"copy" of link "second"'):
        check_alone({"east-west": link, "second": second}, link, "src-copy", "back")


def test_a_topic_that_is_made_anew_keeps_what_is_its_own() -> None:
    def config(value: str, origin: Origin = Origin.KAFKA) -> TopicConfig:
        return TopicConfig(value, origin)

    own = {
        "retention.ms": config("-1"),
        "segment.bytes": config("1000", Origin.TOPIC),
        "flush.ms": config("5"),
        "compression.type": config("lz4", Origin.TOPIC),
        "max.message.bytes": config("0", Origin.TOPIC),
        "cleanup.policy": config("compact", Origin.TOPIC),
    }
    source = {"retention.ms": config("1000"), "segment.bytes": config("1000"), "flush.ms": config("5")}
    assert kept_configs(own, source) == {"retention.ms": "-1"}
