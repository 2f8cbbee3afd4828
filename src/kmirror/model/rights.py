"""The least rights of a link's principal: what each is needed for, and what happens without it. One table for all.

`link create --print-acls`, `doctor --rights` and docs/security.md are made of it.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from kmirror.model.link import GapFill
from kmirror.model.settings import is_on

SOURCE: Final = "source"
DESTINATION: Final = "destination"
ANY: Final = "*"
OFFSETS: Final = "consumer.offset.sync.enable"
ACLS: Final = "acl.sync.enable"


@dataclass(frozen=True, slots=True)
class Right:
    """`operation` on a `resource` as Kafka names them; `when` is the configuration that has to be true, if any.

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
)
"""Kafka takes READ, WRITE, DELETE and ALTER for DESCRIBE too, and ALTER_CONFIGS for DESCRIBE_CONFIGS (Authorizer)."""


def needed_rights(configs: Mapping[str, str], gap_fill: GapFill) -> list[Right]:
    """Those of a link with these configurations; each operation on a resource once."""
    found: dict[tuple[str, str, str], Right] = {}
    for right in RIGHTS:
        wanted = not right.when or is_on(configs, right.when)
        if wanted and (right.unless is None or right.unless is not gap_fill):
            found.setdefault((right.side, right.resource, right.operation), right)
    return list(found.values())


@dataclass(frozen=True, slots=True)
class Granting:
    """For whom, and on what, on one side. Names are literal unless `prefixes` has their resource.

    `tool` is what comes before the words that grant: `kafka-acls.sh --bootstrap-server ..`.
    """

    principal: str
    servers: str
    names: Mapping[str, Sequence[str]]
    prefixes: frozenset[str] = frozenset({"TRANSACTIONAL_ID"})


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
            f"kafka-acls.sh --bootstrap-server {granting.servers} --command-config ADMIN.properties --add",
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
