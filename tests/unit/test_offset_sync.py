"""ConsumerOffsetSync without a cluster: the rule for one offset, and rounds over groups that are made up."""

from collections.abc import Mapping
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from kmirror.model.group_offsets import (
    KEPT_MS,
    REFRESH_MS,
    Committed,
    GroupOffsets,
    Place,
    Step,
    Synced,
    landing,
    next_step,
)
from kmirror.state.group_offsets import KnownGroups, read_groups, write_groups
from kmirror.state.paths import Home
from kmirror.state.runtime import RunFiles
from kmirror.tasks.offset_round import Move, Round, commit_round, last_seen, read_source
from support.group_cluster import GroupCluster

P0: Place = ("orders", 0)
P1: Place = ("orders", 1)


def sync_round(source: GroupCluster, destination: GroupCluster, known: GroupOffsets, now_ms: int) -> Round:
    found = read_source(source, {"orders": ["orders"]}, lambda group: not group.startswith("no-"))
    return commit_round(destination, found, str, known, now_ms)


def clusters(end: int = 100) -> tuple[GroupCluster, GroupCluster]:
    return GroupCluster(), GroupCluster({P0: end, P1: end})


# --- one offset


def test_an_offset_beyond_the_log_end_is_committed_at_the_log_end() -> None:
    assert next_step(Committed(150, "m"), None, None, 100, 0) == (Step.COMMIT, Committed(100, "m"))


def test_what_the_destination_has_is_not_committed_again() -> None:
    assert next_step(Committed(7), None, Committed(7), 100, 0)[0] is Step.HOLDS


def test_a_string_of_the_consumer_goes_along() -> None:
    assert next_step(Committed(7, "b"), None, Committed(7, "a"), 100, 0) == (Step.COMMIT, Committed(7, "b"))


def test_a_group_that_was_moved_at_the_destination_stays_until_its_source_commits_again() -> None:
    last = Synced(Committed(50), 50, 0)
    assert next_step(Committed(50), last, Committed(80), 100, 1) == (Step.MOVED, Committed(80))
    assert next_step(Committed(60), last, Committed(80), 100, 1) == (Step.COMMIT, Committed(60))


def test_a_group_that_was_set_back_at_its_source_is_set_back() -> None:
    last = Synced(Committed(50), 50, 0)
    assert next_step(Committed(10), last, Committed(50), 100, 1) == (Step.COMMIT, Committed(10))


def test_what_was_held_at_the_log_end_follows_it() -> None:
    last = Synced(Committed(150), 100, 0)
    assert next_step(Committed(150), last, Committed(100), 130, 1) == (Step.COMMIT, Committed(130))
    assert next_step(Committed(150), last, Committed(100), 100, 1)[0] is Step.HOLDS


def test_an_old_commit_is_made_again_before_the_broker_forgets_it() -> None:
    last = Synced(Committed(50), 50, 0)
    assert next_step(Committed(50), last, Committed(50), 100, REFRESH_MS - 1)[0] is Step.HOLDS
    assert next_step(Committed(50), last, Committed(50), 100, REFRESH_MS)[0] is Step.COMMIT
    assert next_step(Committed(50), last, Committed(80), 100, REFRESH_MS)[0] is Step.MOVED


def test_where_a_consumer_lands() -> None:
    assert landing(Committed(5), 0, 10) == 5
    assert landing(Committed(10), 0, 10) == 10
    assert landing(Committed(11), 0, 10) is None
    assert landing(Committed(4), 5, 10) is None
    assert landing(None, 0, 10) is None


# --- a round


def test_a_round_copies_what_is_chosen_and_mirrored() -> None:
    source, destination = clusters()
    source.put("app", P0, 10, "note")
    source.put("app", ("elsewhere", 0), 5)
    source.put("no-app", P0, 10)
    out = sync_round(source, destination, {}, 1000)
    assert destination.offsets == {"app": {P0: Committed(10, "note")}}
    assert out.synced == {"app": {P0: Synced(Committed(10, "note"), 10, 1000)}}
    assert (out.groups, out.moves) == (1, [Move("app", P0, None, 10)])


def test_mirrors_of_another_name_and_groups_with_a_prefix() -> None:
    source, destination = GroupCluster(), GroupCluster({("e.orders", 0): 100, ("copy", 0): 5})
    source.put("app", P0, 10)
    found = read_source(source, {"orders": ["e.orders", "copy"]}, lambda _: True)
    commit_round(destination, found, lambda group: f"e.{group}", {}, 0)
    assert destination.offsets == {"e.app": {("e.orders", 0): Committed(10), ("copy", 0): Committed(5)}}


def test_a_round_without_news_asks_the_destination_for_no_offset() -> None:
    source, destination = clusters()
    source.put("app", P0, 10)
    known = sync_round(source, destination, {}, 0).synced
    destination.asked.clear()
    out = sync_round(source, destination, known, 1)
    assert (destination.asked, destination.commits, out.moves) == ([], 1, [])
    assert out.synced == known


def test_a_group_that_is_gone_from_the_destination_is_committed_anew() -> None:
    source, destination = clusters()
    source.put("app", P0, 10)
    known = sync_round(source, destination, {}, 0).synced
    destination.offsets.clear()
    sync_round(source, destination, known, 1)
    assert destination.at("app") == 10


def test_a_group_with_members_at_the_destination_is_left_alone() -> None:
    source, destination = clusters()
    source.put("app", P0, 10)
    destination.members = {"app"}
    out = sync_round(source, destination, {}, 0)
    assert (out.busy, out.synced, destination.offsets) == (["app"], {}, {})
    destination.members, destination.joining = set(), {"app"}  # one comes between the look and the commit
    out = sync_round(source, destination, {}, 0)
    assert (out.busy, out.synced, out.refused) == (["app"], {}, {})


def test_a_group_that_is_denied_hinders_no_other_and_is_told() -> None:
    source, destination = clusters()
    source.put("app", P0, 10)
    source.put("secret", P0, 10)
    known = sync_round(source, destination, {}, 0).synced
    source.put("app", P0, 20)
    source.denied = {"secret"}
    out = sync_round(source, destination, known, 1)
    assert destination.at("app") == 20
    assert list(out.refused) == ["secret"]
    assert out.synced["secret"] == known["secret"]


def test_a_group_that_leaves_the_source_is_never_deleted_and_remembered_for_a_while() -> None:
    source, destination = clusters()
    source.put("app", P0, 10)
    known = sync_round(source, destination, {}, 0).synced
    source.offsets.clear()
    assert sync_round(source, destination, known, 1).synced == known
    assert sync_round(source, destination, known, KEPT_MS).synced == {}
    assert destination.at("app") == 10


def test_a_partition_that_the_mirror_does_not_have_yet_waits() -> None:
    source, destination = GroupCluster(), GroupCluster({P0: 100})
    source.put("app", P0, 10)
    source.put("app", P1, 10)
    known = sync_round(source, destination, {}, 0).synced
    assert destination.offsets["app"] == {P0: Committed(10)}
    destination.ends[P1] = 3
    sync_round(source, destination, known, 1)
    assert destination.at("app", P1) == 3


def test_a_failover_raises_what_was_held_as_far_as_it_is_copied() -> None:
    source, destination = clusters(end=100)
    source.put("app", P0, 150)
    source.put("app", P1, 50)
    known = sync_round(source, destination, {}, 0).synced
    destination.ends[P0] = 130
    out = commit_round(destination, last_seen(known, {"orders"}), str, known, 1)
    assert (destination.at("app"), destination.at("app", P1)) == (130, 50)
    assert out.moves == [Move("app", P0, 100, 130)]
    assert out.synced["app"][P0] == Synced(Committed(150), 130, 1)


def test_a_failover_touches_no_other_mirror() -> None:
    destination = GroupCluster({P0: 100, ("other", 0): 100})
    known = {"app": {("other", 0): Synced(Committed(50), 20, 0)}}
    out = commit_round(destination, last_seen(known, {"orders"}), str, known, 1)
    assert (destination.commits, out.synced) == (0, known)


# --- laws

MOVES = st.one_of(
    st.tuples(st.just("source commits"), st.integers(0, 100)),
    st.tuples(st.just("destination commits"), st.integers(0, 100)),
    st.tuples(st.just("copies"), st.integers(0, 30)),
    st.tuples(st.just("forgets"), st.just(0)),
    st.tuples(st.just("joins"), st.just(0)),
    st.tuples(st.just("leaves"), st.just(0)),
    st.tuples(st.just("round"), st.just(0)),
)


@given(st.lists(MOVES, max_size=30))
def test_the_last_commit_holds_but_never_beyond_the_log_end(moves: list[tuple[str, int]]) -> None:
    source, destination = GroupCluster(), GroupCluster({P0: 0})
    known: Mapping[str, Mapping[Place, Synced]] = {}
    last_source: int | None = None  # in the last round
    moved = False  # at the destination, since
    for now_ms, (move, number) in enumerate(moves):
        held = destination.at("app")
        if move == "source commits":
            source.put("app", P0, number)
        elif move == "destination commits" and number <= destination.ends[P0]:
            destination.put("app", P0, number)
            moved = True
        elif move == "copies":
            destination.ends[P0] += number
        elif move == "forgets":
            known = {}
        elif move == "joins":
            destination.members.add("app")
        elif move == "leaves":
            destination.members.discard("app")
        elif move == "round":
            before = destination.commits
            known = sync_round(source, destination, known, now_ms).synced
            if destination.members:
                assert destination.at("app") == held
                continue
            at_source = source.at("app")
            if at_source is not None and (at_source != last_source or not moved):
                assert destination.at("app") == min(at_source, destination.ends[P0])
            after = destination.commits
            known = sync_round(source, destination, known, now_ms).synced
            assert destination.commits == after  # a second round has nothing to do
            assert after - before <= 1
            last_source, moved = at_source, moved and destination.at("app") == held
        assert (destination.at("app") or 0) <= destination.ends[P0]


# --- what is remembered


def test_what_is_remembered_is_read_as_it_was_written(tmp_path: Path) -> None:
    files = RunFiles(Home(tmp_path, tmp_path / "run"), "east-west")
    assert read_groups(files) == KnownGroups()
    known = KnownGroups({"app": {P0: Synced(Committed(150, 'a "b"'), 100, 12), P1: Synced(Committed(1), 1, 13)}}, 99)
    write_groups(files, known)
    assert read_groups(files) == known
    (files.directory / "groups.json").write_text('{"at_ms": 1, "groups": {"app": {"orders": [[0]]}}}')
    assert read_groups(files) == KnownGroups()
