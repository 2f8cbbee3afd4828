"""Guarded mirrors: who an ACL lets write to one, who of them is denied it, and who can write all the same."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from kmirror.model.acls import DENY, EVERYBODY, LITERAL, TOPIC, Acl
from kmirror.model.link import Link
from kmirror.model.security import OAUTHBEARER, Protocol, Security

ANONYMOUS: Final = "User:ANONYMOUS"
"""Who comes by PLAINTEXT (KafkaPrincipal.ANONYMOUS)."""
_ANY_HOST: Final = "*"


@dataclass(frozen=True, slots=True)
class Authorizer:
    """What the brokers tell of their authorizer; None where they don't let us see it.

    Whether a setting is there is all that can be known: their values are shown to nobody.
    """

    super_users: bool | None
    open_without_acl: bool | None
    """allow.everyone.if.no.acl.found: a topic on which there is no ACL at all is open to everybody."""


@dataclass(frozen=True, slots=True)
class Guard:
    """`denied` are principals that get a DENY WRITE on the topic, `open_to` says who can write to it all the same."""

    denied: tuple[str, ...]
    open_to: tuple[str, ...] = ()


def own_principal(security: Security) -> str | None:
    """By which name the brokers know who connects so; None where only they can say (certificates, tokens)."""
    if security.protocol.is_sasl and security.mechanism != OAUTHBEARER:
        return f"User:{security.username}"
    return ANONYMOUS if security.protocol is Protocol.PLAINTEXT else None


def guard_of(topic: str, acls: Iterable[Acl], spared: Collection[str], authorizer: Authorizer) -> Guard:
    """`acls` are all those on topics, `spared` those who write to it: kmirror's own principal, and whom the user names.

    Deny wins in Kafka (AclAuthorizer, StandardAuthorizer). So "everybody" can't be denied: that would bar kmirror too.
    """
    on_topic = [acl for acl in acls if acl.covers(topic)]
    barred = {acl.principal for acl in on_topic if _bars_everywhere(acl)}
    writers = {acl.principal: acl for acl in sorted(on_topic) if acl.lets_write and acl.principal not in barred}
    open_to = []
    if EVERYBODY in writers:
        open_to.append(f'everybody, by "{writers[EVERYBODY]}"')
    if authorizer.super_users is not False:
        known = "brokers don't tell who that is" if authorizer.super_users else "if there are any"
        open_to.append(f"super users ({known})")
    if authorizer.open_without_acl is not False and not on_topic:
        open_to.append("everybody, if allow.everyone.if.no.acl.found is true at the brokers: no ACL covers it")
    return Guard(tuple(sorted(writers.keys() - {EVERYBODY, *spared})), tuple(open_to))


def _bars_everywhere(acl: Acl) -> bool:
    return acl.permission_type == DENY and acl.operation in {"WRITE", "ALL"} and acl.host == _ANY_HOST


def guard_acls(guards: Mapping[str, Collection[str]]) -> frozenset[Acl]:
    """`guards` has the principals that are denied, by topic."""
    return frozenset(
        Acl(TOPIC, LITERAL, topic, principal, _ANY_HOST, "WRITE", DENY)
        for topic, principals in guards.items()
        for principal in principals
    )


def guarded_at(links: Iterable[Link], cluster_id: str) -> frozenset[Acl]:
    """What guards at this cluster consist of: no ACLs of its own, for who syncs ACLs from it."""
    return frozenset().union(*(guard_acls(link.guards) for link in links if link.destination_cluster_id == cluster_id))
