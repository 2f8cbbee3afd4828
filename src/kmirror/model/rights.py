"""The least rights of a link's principal: what each is needed for, and what happens without it. One table for all.

`link create --print-acls`, `doctor --rights` and docs/security.md are made of it.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from kmirror.model.access import Access
from kmirror.model.link import GapFill
from kmirror.model.secrets import has_reference
from kmirror.model.settings import is_on

SOURCE: Final = "source"
DESTINATION: Final = "destination"
ANY: Final = "*"
OFFSETS: Final = "consumer.offset.sync.enable"
ACLS: Final = "acl.sync.enable"
GUARD: Final = "mirror create --guard"


@dataclass(frozen=True, slots=True)
class Right:
    """`operation` on a `resource` as Kafka names them; `when` is the configuration that has to be true, or the verb.

    `unless`: not needed where the link fills gaps in this way.
    """

    side: str
    resource: str
    operation: str
    needed_for: str
    without: str
    when: str = ""
    unless: GapFill | None = None


RIGHTS: Final[Sequence[Right]] = (
    Right(SOURCE, "TOPIC", "READ", "to copy records", "the mirror waits, and says so"),
    Right(SOURCE, "TOPIC", "DESCRIBE_CONFIGS", "to give mirrors the configs of their sources", "no mirror is created"),
    Right(SOURCE, "GROUP", "DESCRIBE", "to read what groups have committed", "ConsumerOffsetSync is IN_ERROR", OFFSETS),
    Right(SOURCE, "CLUSTER", "DESCRIBE", "to read ACLs", "AclSync is IN_ERROR", ACLS),
    Right(DESTINATION, "TOPIC", "CREATE", "to create mirror topics", "no mirror is created"),
    Right(DESTINATION, "TOPIC", "WRITE", "to append what was copied", "the mirror waits, and says so"),
    Right(DESTINATION, "TOPIC", "READ", "to compare the log's tail before anything is appended", "the mirror waits"),
    Right(
        DESTINATION,
        "TOPIC",
        "ALTER_CONFIGS",
        "to follow configs, and to give a promoted topic its own",
        "a promote does not end: the topic keeps the limits of a mirror",
    ),
    Right(DESTINATION, "TOPIC", "ALTER", "to add partitions where the source gets some", "new partitions wait"),
    Right(
        DESTINATION,
        "TOPIC",
        "DELETE",
        "to begin a mirror where its source begins, if that is not at 0, by DeleteRecords",
        "no mirror of such a topic is created",
    ),
    Right(
        DESTINATION,
        "TRANSACTIONAL_ID",
        "WRITE",
        "to keep the link's producer id, and for empty transactions",
        "the link does not begin",
    ),
    Right(
        DESTINATION,
        "CLUSTER",
        "ALTER",
        "to fill gaps by markers",
        "gaps are filled by empty transactions, a hundred times slower",
        unless=GapFill.TRANSACTIONS,
    ),
    Right(
        DESTINATION, "GROUP", "READ", "to commit what groups have committed", "ConsumerOffsetSync is IN_ERROR", OFFSETS
    ),
    Right(DESTINATION, "CLUSTER", "ALTER", "to read and create ACLs", "AclSync is IN_ERROR", ACLS),
    Right(
        DESTINATION,
        "CLUSTER",
        "ALTER",
        "to deny others to write to a mirror, and to end that",
        "no guarded mirror is created; a promote of one does not end",
        GUARD,
    ),
)
"""Kafka takes READ, WRITE, DELETE and ALTER for DESCRIBE too, and ALTER_CONFIGS for DESCRIBE_CONFIGS (Authorizer)."""


def needed_rights(configs: Mapping[str, str], gap_fill: GapFill, *, guard: bool = False) -> list[Right]:
    """Those of a link with these configurations, and guarded mirrors or not; each operation on a resource once."""
    found: dict[tuple[str, str, str], Right] = {}
    for right in RIGHTS:
        wanted = guard if right.when == GUARD else not right.when or is_on(configs, right.when)
        if wanted and (right.unless is None or right.unless is not gap_fill):
            found.setdefault((right.side, right.resource, right.operation), right)
    return list(found.values())


@dataclass(frozen=True, slots=True)
class Need:
    """One right on one thing; `name` is none of a CLUSTER. `prefixed`: on all whose names begin with it."""

    resource: str
    operation: str
    name: str = ""
    prefixed: bool = False


@dataclass(frozen=True, slots=True)
class Granting:
    """For whom, and on what, on one side. Names are literal unless `prefixes` has their resource.

    `tool` is what comes before the words that grant: `kafka-acls.sh --bootstrap-server ..`.
    """

    principal: str
    servers: str
    names: Mapping[str, Sequence[str]]
    prefixes: frozenset[str] = frozenset({"TRANSACTIONAL_ID"})


def granting_of(access: Access, names: Mapping[str, Sequence[str]]) -> Granting:
    """For the principal by which `access` logs in, where that is known by a name; else `User:NAME`."""
    user = dict(access.properties).get("sasl.username", "")
    principal = f"User:{user}" if user and not has_reference(user) else "User:NAME"
    return Granting(principal, access.bootstrap, names)


def grant_line(access: Access, need: Need) -> str:
    """The command that grants it."""
    right = Right("", need.resource, need.operation, "", "")
    granting = granting_of(access, {need.resource: [need.name]})
    if need.prefixed:
        granting = replace(granting, prefixes=granting.prefixes | {need.resource})
    (line,) = grant_commands([right], granting)
    return line


def to_grant(access: Access, need: Need) -> str:
    """What to do where the cluster says that this right is missing."""
    return f"Grant it: `{grant_line(access, need)}`"


def removal_line(access: Access, topic: str, denied: Iterable[str]) -> str:
    """The command that takes away the DENY WRITE of these principals on a topic."""
    principals = " ".join(f"--deny-principal {_quoted(principal)}" for principal in denied)
    return f"{_tool(access.bootstrap)} --remove --force {principals} --operation Write --topic {topic}"


def _tool(servers: str) -> str:
    return f"kafka-acls.sh --bootstrap-server {servers} --command-config ADMIN.properties"


_OPTIONS: Final = {
    "TOPIC": "--topic",
    "GROUP": "--group",
    "TRANSACTIONAL_ID": "--transactional-id",
}


def grant_commands(rights: Iterable[Right], granting: Granting) -> Iterator[str]:
    """Lines for a shell, one for each resource, with all operations on it (kafka-acls, of Kafka itself)."""
    by_resource: dict[str, list[str]] = {}
    for right in rights:
        by_resource.setdefault(right.resource, []).append(right.operation)
    for resource, operations in by_resource.items():
        words = [
            f"{_tool(granting.servers)} --add",
            f"--allow-principal {_quoted(granting.principal)}",
            *(f"--operation {_camel(operation)}" for operation in dict.fromkeys(operations)),
        ]
        if resource == "CLUSTER":
            words.append("--cluster")
        else:
            names = granting.names.get(resource) or [ANY]
            words += [f"{_OPTIONS[resource]} {_quoted(name)}" for name in names]
            if resource in granting.prefixes:
                words.append("--resource-pattern-type prefixed")
        yield " ".join(words)


def _camel(operation: str) -> str:
    return "".join(part.capitalize() for part in operation.split("_"))


def _quoted(name: str) -> str:
    return f"'{name}'" if any(c in name for c in "*'$ =,;") else name
