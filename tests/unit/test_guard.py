"""Who is denied to write to a guarded mirror, and who can all the same."""

from collections.abc import Collection
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmirror.model.acls import Acl
from kmirror.model.guard import Authorizer, guard_acls, guard_of, guarded_at, own_principal
from kmirror.model.link import GapFill, Link
from kmirror.model.security import Protocol, Security

CLOSED = Authorizer(super_users=False, open_without_acl=False)


def allow(principal: str, name: str, operation: str = "WRITE", pattern: str = "LITERAL", host: str = "*") -> Acl:
    return Acl("TOPIC", pattern, name, f"User:{principal}", host, operation, "ALLOW")


def deny(acl: Acl, **changes: str) -> Acl:
    return replace(acl, permission_type="DENY", **changes)


def test_every_way_to_be_let_write_is_denied_by_name() -> None:
    acls = [
        allow("literal", "orders"),
        allow("prefixed", "ord", pattern="PREFIXED"),
        allow("anything", "*", "ALL"),
        allow("one-host", "orders", host="10.0.0.1"),
        allow("other", "orders-2"),
        allow("other-prefix", "orders-", pattern="PREFIXED"),
        allow("reader", "orders", "READ"),
        allow("mirror", "*"),
        Acl("CLUSTER", "LITERAL", "kafka-cluster", "User:boss", "*", "ALL", "ALLOW"),
    ]
    found = guard_of("orders", acls, {"User:mirror"}, CLOSED)
    assert found.denied == ("User:anything", "User:literal", "User:one-host", "User:prefixed")
    assert found.open_to == ()


def test_who_is_denied_by_others_is_not_ours() -> None:
    app = allow("app", "orders")
    assert guard_of("orders", [app, deny(app)], (), CLOSED).denied == ()
    assert guard_of("orders", [app, deny(app, operation="ALL", name="*")], (), CLOSED).denied == ()
    for little in (deny(app, host="10.0.0.1"), deny(app, operation="READ"), deny(app, name="payments")):
        assert guard_of("orders", [app, little], (), CLOSED).denied == ("User:app",)


def test_everybody_is_told_and_never_denied() -> None:
    found = guard_of("orders", [allow("*", "ord", pattern="PREFIXED"), allow("app", "orders")], (), CLOSED)
    assert found.denied == ("User:app",)
    assert found.open_to == ('everybody, by "ALLOW User:* WRITE TOPIC ord*"',)


@pytest.mark.parametrize(
    ("authorizer", "acls", "told"),
    [
        (Authorizer(super_users=True, open_without_acl=False), [], ["brokers don't tell who that is"]),
        (Authorizer(super_users=None, open_without_acl=False), [], ["super users (if there are any)"]),
        (Authorizer(super_users=False, open_without_acl=True), [], ["allow.everyone.if.no.acl.found"]),
        (Authorizer(super_users=False, open_without_acl=None), [], ["allow.everyone.if.no.acl.found"]),
        (Authorizer(super_users=False, open_without_acl=True), [allow("app", "orders", "READ")], []),
    ],
)
def test_what_brokers_let_in_beside_acls_is_told(authorizer: Authorizer, acls: list[Acl], told: list[str]) -> None:
    found = guard_of("orders", acls, (), authorizer).open_to
    assert len(found) == len(told)
    for sentence, part in zip(found, told, strict=True):
        assert part in sentence


_ACLS = st.builds(
    Acl,
    st.just("TOPIC"),
    st.sampled_from(["LITERAL", "PREFIXED"]),
    st.sampled_from(["*", "o", "orders", "orders-2"]),
    st.sampled_from(["User:a", "User:b", "User:mirror", "User:*"]),
    st.sampled_from(["*", "10.0.0.1"]),
    st.sampled_from(["WRITE", "ALL", "READ"]),
    st.sampled_from(["ALLOW", "DENY"]),
)


def may_write(principal: str, topic: str, acls: Collection[Acl], host: str) -> bool:
    """As org.apache.kafka.metadata.authorizer.StandardAuthorizerData decides."""
    hits = [
        acl
        for acl in acls
        if acl.covers(topic)
        and acl.principal in {principal, "User:*"}
        and acl.host in {"*", host}
        and acl.operation in {"WRITE", "ALL"}
    ]
    return bool(hits) and all(acl.permission_type == "ALLOW" for acl in hits)


@given(st.sets(_ACLS), st.sampled_from(["10.0.0.1", "10.0.0.2"]))
def test_behind_a_guard_only_those_write_who_are_told(acls: set[Acl], host: str) -> None:
    guard = guard_of("orders", acls, {"User:mirror"}, CLOSED)
    guarded = acls | guard_acls({"orders": guard.denied})
    everybody = any("everybody" in sentence for sentence in guard.open_to)
    for principal in ("User:a", "User:b", "User:somebody"):
        if not everybody:
            assert not may_write(principal, "orders", guarded, host)
        assert may_write(principal, "orders-2", guarded, host) == may_write(principal, "orders-2", acls, host)
    assert may_write("User:mirror", "orders", guarded, host) == may_write("User:mirror", "orders", acls, host)


def test_guards_of_a_cluster_are_those_of_the_links_to_it() -> None:
    to_west = Link("a", "1", "east", "west", {}, GapFill.MARKERS, 0, guards={"orders": ("User:app",)})
    to_east = Link("b", "2", "west", "east", {}, GapFill.MARKERS, 0, guards={"users": ("User:app",)})
    assert guarded_at([to_west, to_east], "west") == {deny(allow("app", "orders"))}


@pytest.mark.parametrize(
    ("security", "principal"),
    [
        (Security(), "User:ANONYMOUS"),
        (Security(Protocol.SASL_SSL, "PLAIN", "mirror"), "User:mirror"),
        (Security(Protocol.SASL_PLAINTEXT, "SCRAM-SHA-512", "mirror"), "User:mirror"),
        (Security(Protocol.SASL_SSL, "OAUTHBEARER", "mirror"), None),
        (Security(Protocol.SSL), None),
    ],
)
def test_by_which_name_the_brokers_know_us(security: Security, principal: str | None) -> None:
    assert own_principal(security) == principal
