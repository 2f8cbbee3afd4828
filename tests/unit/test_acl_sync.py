"""What of a source's ACLs belongs to the destination, and what may be deleted there."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmirror.errors import StateError
from kmirror.model.acls import Acl, matches, plan_acls, wanted_acls
from kmirror.model.filters import AclFilter
from kmirror.state.acls import KnownAcls, read_acls, write_acls
from kmirror.state.paths import Home
from kmirror.state.runtime import RunFiles

ALL = (AclFilter(),)


def topic(name: str, operation: str = "READ", *, prefixed: bool = False, permission: str = "ALLOW") -> Acl:
    return Acl("TOPIC", "PREFIXED" if prefixed else "LITERAL", name, "User:app", "*", operation, permission)


# --- what is wanted


def test_an_acl_reads_as_a_sentence() -> None:
    assert str(topic("orders", "WRITE")) == "ALLOW User:app WRITE TOPIC orders"
    assert str(topic("ord", "ALL", prefixed=True, permission="DENY")) == "DENY User:app ALL TOPIC ord*"
    cluster = Acl("CLUSTER", "LITERAL", "kafka-cluster", "User:app", "10.0.0.1", "IDEMPOTENT_WRITE", "ALLOW")
    assert str(cluster) == "ALLOW User:app IDEMPOTENT_WRITE CLUSTER from 10.0.0.1"


def test_nobody_gets_to_write_to_a_mirror() -> None:
    source = [topic("orders"), topic("orders", "WRITE"), topic("other", "WRITE")]
    found = wanted_acls(source, mirrors={"orders"}, released=set())
    assert set(found.acls) == {topic("orders"), topic("other", "WRITE")}
    assert found.held == (topic("orders", "WRITE"),)
    assert set(wanted_acls(source, mirrors=set(), released={"orders"}).acls) == set(source)


def test_what_is_denied_is_denied_at_a_mirror_too() -> None:
    denied = topic("orders", "WRITE", permission="DENY")
    assert set(wanted_acls([denied], {"orders"}, set()).acls) == {denied}


def test_what_would_bar_kmirror_itself_is_not_given_while_it_does() -> None:
    everybody = [replace(topic("ord", "READ", prefixed=True, permission="DENY"), principal="User:*")]
    cluster = Acl("CLUSTER", "LITERAL", "kafka-cluster", "User:kmirror", "*", "ALTER", "DENY")
    own = replace(topic("orders", "WRITE", permission="DENY"), principal="User:kmirror")
    source = [*everybody, cluster, own, topic("users", "ALL", permission="DENY"), topic("orders")]
    found = wanted_acls(source, {"orders"}, set(), {"User:kmirror"})
    assert set(found.barring) == {*everybody, cluster, own}
    assert set(found.acls) == {topic("users", "ALL", permission="DENY"), topic("orders")}
    assert set(wanted_acls(source, {"orders"}, set()).barring) == set(everybody)
    assert set(wanted_acls(source, {"users"}, {"orders"}, {"User:kmirror"}).barring) == {cluster}
    assert set(wanted_acls(source, set(), {"orders"}, {"User:kmirror"}).acls) == set(source)


def test_all_of_a_mirror_is_to_read_it() -> None:
    found = wanted_acls([topic("orders", "ALL")], {"orders"}, set())
    assert set(found.acls) == {topic("orders", "READ"), topic("orders", "DESCRIBE_CONFIGS")}
    assert set(found.acls.values()) == {topic("orders", "ALL")}


def test_a_pattern_is_held_back_while_it_covers_a_mirror_and_what_is_released_gets_it_by_name() -> None:
    wide = topic("ord", "WRITE", prefixed=True)
    every = topic("*", "WRITE")
    found = wanted_acls([wide, every], mirrors={"orders"}, released={"order-log", "users"})
    assert set(found.acls) == {topic("order-log", "WRITE"), topic("users", "WRITE")}
    assert set(wanted_acls([wide, every], set(), {"orders", "order-log"}).acls) == {wide, every}


NAMES = st.sampled_from(["orders", "order", "users", "*", "o"])
ACLS = st.builds(
    Acl,
    st.sampled_from(["TOPIC", "GROUP"]),
    st.sampled_from(["LITERAL", "PREFIXED"]),
    NAMES,
    st.sampled_from(["User:a", "User:b"]),
    st.sampled_from(["*", "10.0.0.1"]),
    st.sampled_from(["READ", "WRITE", "ALL", "DESCRIBE"]),
    st.sampled_from(["ALLOW", "DENY"]),
)
TOPICS = st.sets(st.sampled_from(["orders", "order", "users"]))


@given(st.sets(ACLS), TOPICS, TOPICS)
def test_no_acl_that_is_wanted_lets_anybody_write_to_a_mirror(
    source: set[Acl], mirrors: set[str], own: set[str]
) -> None:
    found = wanted_acls(source, mirrors, own - mirrors)
    assert not [acl for acl in found.acls if acl.lets_write and any(acl.covers(name) for name in mirrors)]
    assert set(found.acls.values()) <= source
    for acl in source:
        if acl.lets_write:  # what is released has every right that the source gives
            for name in own - mirrors:
                held = any(found.acls[a] == acl and a.covers(name) and a.operation == acl.operation for a in found.acls)
                assert held or not acl.covers(name)
        else:
            assert acl in found.acls


# --- what is done


def test_what_denies_comes_first_and_goes_last() -> None:
    deny, allow = topic("b", permission="DENY"), topic("a")
    assert plan_acls({allow: allow, deny: deny}, set(), {}, ALL).create == (deny, allow)
    assert plan_acls({}, {allow, deny}, {allow: allow, deny: deny}, ALL).delete == (allow, deny)


@given(st.sets(ACLS), st.sets(ACLS), st.sets(ACLS))
def test_only_what_kmirror_created_is_ever_deleted(source: set[Acl], there: set[Acl], created: set[Acl]) -> None:
    ours = {acl: acl for acl in created}
    wanted = {acl: acl for acl in source}
    plan = plan_acls(wanted, there, ours, ALL)
    after = (there | set(plan.create)) - set(plan.delete)
    assert set(plan.delete) <= created
    assert there - created <= after
    assert source <= after
    assert after - source <= there - created
    still_ours = (ours.keys() | set(plan.create)) - set(plan.delete) - set(plan.forget)
    assert still_ours <= after
    again = plan_acls(wanted, after, {acl: acl for acl in still_ours}, ALL)
    assert (again.create, again.delete, again.forget) == ((), (), ())


def test_one_that_the_filters_choose_no_more_is_left() -> None:
    acl = topic("orders")
    assert plan_acls({}, {acl}, {acl: acl}, ()).delete == ()
    assert plan_acls({}, {acl}, {acl: acl}, (AclFilter(name="users"),)).delete == ()
    assert plan_acls({}, {acl}, {acl: acl}, (AclFilter(name="orders"),)).delete == (acl,)


def test_a_part_of_all_goes_with_the_filter_that_chose_all() -> None:
    part, origin = topic("orders"), topic("orders", "ALL")
    filters = (AclFilter(operation="ALL"),)
    assert plan_acls({}, {part}, {part: origin}, filters).delete == (part,)


@pytest.mark.parametrize(
    ("filters", "chosen"),
    [
        (AclFilter(), True),
        (AclFilter(resource_type="GROUP"), False),
        (AclFilter(pattern_type="LITERAL", name="ord"), False),
        (AclFilter(pattern_type="PREFIXED", name="ord"), True),
        (AclFilter(pattern_type="MATCH", name="orders"), True),
        (AclFilter(pattern_type="MATCH", name="users"), False),
        (AclFilter(principal="User:app", operation="READ", permission_type="ALLOW", host="*"), True),
        (AclFilter(principal="User:other"), False),
        (AclFilter(permission_type="DENY"), False),
    ],
)
def test_a_filter_chooses_as_the_broker_does(filters: AclFilter, chosen: bool) -> None:
    assert matches(filters, topic("ord", prefixed=True)) is chosen


# --- what is remembered


def test_what_was_created_is_remembered(tmp_path: Path) -> None:
    files = RunFiles(Home(tmp_path, tmp_path / "run"), "east-west")
    assert read_acls(files) == KnownAcls()
    known = KnownAcls({topic("orders"): topic("orders", "ALL")}, frozenset({topic("orders", "ALL")}))
    write_acls(files, known)
    assert read_acls(files) == known


def test_a_damaged_memory_stops_it_rather_than_forgets(tmp_path: Path) -> None:
    files = RunFiles(Home(tmp_path, tmp_path / "run"), "east-west")
    files.create()
    (files.directory / "acls.json").write_text('{"ours": [')
    with pytest.raises(StateError, match=r"acls\.json"):
        read_acls(files)
