"""ACLs as both clusters have them, and what of a source's belongs to the destination while topics are mirrors.

A mirror may have no writer but kmirror. So what allows to write to one is held back until it is a topic of its own.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from kmirror.model.filters import AclFilter

TOPIC: Final = "TOPIC"
LITERAL: Final = "LITERAL"
PREFIXED: Final = "PREFIXED"
ALLOW: Final = "ALLOW"
DENY: Final = "DENY"
EVERYBODY: Final = "User:*"
_EVERY: Final = "*"
_LOOKS: Final = ("READ", "DESCRIBE_CONFIGS")
"""What is left of ALLOW ALL on a mirror; READ brings DESCRIBE with it."""


@dataclass(frozen=True, slots=True, order=True)
class Acl:
    """One binding, in Kafka's words in upper case (TOPIC, LITERAL, READ, ALLOW ...)."""

    resource_type: str
    pattern_type: str
    name: str
    principal: str
    host: str
    operation: str
    permission_type: str

    def __str__(self) -> str:
        name = (
            "" if self.resource_type == "CLUSTER" else f" {self.name}{_EVERY if self.pattern_type == PREFIXED else ''}"
        )
        where = "" if self.host == _EVERY else f" from {self.host}"
        return f"{self.permission_type} {self.principal} {self.operation} {self.resource_type}{name}{where}"

    def covers(self, topic: str) -> bool:
        if self.resource_type != TOPIC:
            return False
        return topic.startswith(self.name) if self.pattern_type == PREFIXED else self.name in {_EVERY, topic}

    @property
    def lets_write(self) -> bool:
        return self.permission_type == ALLOW and self.operation in {"WRITE", "ALL"} and self.resource_type == TOPIC

    def bars(self, principals: Collection[str], topics: Collection[str]) -> bool:
        """Keeps one of these principals from what it does with these topics, or with groups and the cluster beside."""
        if self.permission_type != DENY or self.principal not in {*principals, EVERYBODY}:
            return False
        return any(self.covers(topic) for topic in topics) if self.resource_type == TOPIC else bool(topics)


@dataclass(frozen=True, slots=True)
class Wanted:
    """`acls` belong to the destination now, each with that of the source from which it comes; `held` are held back.

    `barring` are too: they would keep kmirror itself from its mirrors.
    """

    acls: Mapping[Acl, Acl]
    held: tuple[Acl, ...]
    barring: tuple[Acl, ...]


@dataclass(frozen=True, slots=True)
class AclPlan:
    """In the order in which they are done: what denies comes first and goes last."""

    create: tuple[Acl, ...]
    delete: tuple[Acl, ...]
    forget: tuple[Acl, ...]
    """Ours that are at the destination no more, nor wanted."""


def wanted_acls(
    source: Iterable[Acl], mirrors: Collection[str], released: Collection[str], own: Collection[str] = ()
) -> Wanted:
    """`mirrors` are topics that are mirrors now, `released` those that were and are topics of their own; `own` are the
    principals of kmirror at the destination.

    A pattern that covers a mirror is held back as a whole; those topics of it that are released get it by their names.
    """
    acls: dict[Acl, Acl] = {}
    held, barring = [], []
    for acl in sorted(source):
        if acl.bars(own, mirrors):
            barring.append(acl)
            continue
        if not acl.lets_write or not any(acl.covers(topic) for topic in mirrors):
            acls[acl] = acl
            continue
        held.append(acl)
        if acl.operation == "ALL":
            acls |= {replace(acl, operation=operation): acl for operation in _LOOKS}
        if acl.pattern_type == PREFIXED or acl.name == _EVERY:
            ours = [topic for topic in released if acl.covers(topic)]
            acls |= {replace(acl, pattern_type=LITERAL, name=topic): acl for topic in ours}
    return Wanted(acls, tuple(held), tuple(barring))


def plan_acls(
    wanted: Mapping[Acl, Acl], there: Collection[Acl], ours: Mapping[Acl, Acl], filters: Collection[AclFilter]
) -> AclPlan:
    """`ours` were created by kmirror (each with its origin): no other is ever deleted.

    Nor is one whose origin the filters choose no more: of that nothing is known.
    """
    present = frozenset(there)
    gone = [
        acl
        for acl, origin in ours.items()
        if acl in present and acl not in wanted and any(matches(found, origin) for found in filters)
    ]
    return AclPlan(
        create=tuple(sorted(wanted.keys() - present, key=lambda acl: (acl.permission_type != DENY, acl))),
        delete=tuple(sorted(gone, key=lambda acl: (acl.permission_type == DENY, acl))),
        forget=tuple(sorted(ours.keys() - present - wanted.keys())),
    )


def matches(found: AclFilter, acl: Acl) -> bool:
    """As the broker decides (AclBindingFilter.matches, ResourcePatternFilter.matches)."""
    return (
        found.resource_type in {"ANY", acl.resource_type}
        and found.operation in {"ANY", acl.operation}
        and found.permission_type in {"ANY", acl.permission_type}
        and found.principal in {None, acl.principal}
        and found.host in {None, acl.host}
        and _pattern_matches(found, acl)
    )


def _pattern_matches(found: AclFilter, acl: Acl) -> bool:
    if found.pattern_type not in {"ANY", "MATCH", acl.pattern_type}:
        return False
    if found.name is None or found.name == acl.name:
        return True
    if found.pattern_type != "MATCH":
        return False
    return found.name.startswith(acl.name) if acl.pattern_type == PREFIXED else acl.name == _EVERY
