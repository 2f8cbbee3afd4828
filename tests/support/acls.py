"""Lines of kafka-acls.sh as an administrator would run them, done by a client."""

import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Final

from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    ResourcePatternType,
    ResourceType,
)

from kmirror.sandbox import KafkaCluster
from support.mirrors import admin

_RESOURCES: Final[Mapping[str, ResourceType]] = MappingProxyType(
    {
        "--topic": ResourceType.TOPIC,
        "--group": ResourceType.GROUP,
        "--transactional-id": ResourceType.TRANSACTIONAL_ID,
        "--cluster": ResourceType.BROKER,
    }
)
_OPERATIONS: Final = MappingProxyType(
    {name.replace("_", ""): value for name, value in AclOperation.__members__.items()}
)


def bindings(line: str) -> dict[tuple[str, str], AclBinding]:
    """What one line grants, by resource and operation in Kafka's upper case words."""
    words = shlex.split(line)
    assert words[0] == "kafka-acls.sh"
    assert "--add" in words
    principal = words[words.index("--allow-principal") + 1]
    kind = ResourcePatternType.PREFIXED if "--resource-pattern-type" in words else ResourcePatternType.LITERAL
    option, resource = next((option, found) for option, found in _RESOURCES.items() if option in words)
    name = "kafka-cluster" if option == "--cluster" else words[words.index(option) + 1]
    operations = [words[i + 1].upper() for i, word in enumerate(words) if word == "--operation"]
    made = {}
    for operation in (_OPERATIONS[word] for word in operations):
        known = "CLUSTER" if resource is ResourceType.BROKER else resource.name
        allow = AclPermissionType.ALLOW
        made[known, operation.name] = AclBinding(resource, name, kind, principal, "*", operation, allow)
    return made


def suggested(text: str, server: str) -> list[AclBinding]:
    """What the commands in a text grant, with which kmirror says what is missing at this bootstrap server."""
    lines = re.findall(r"`(kafka-acls\.sh [^`]*)`", text)
    return [acl for line in lines if f" {server} " in line for acl in bindings(line).values()]


def grant(cluster: KafkaCluster, wanted: Iterable[AclBinding]) -> None:
    client = admin(cluster)  # has to outlive its answers
    for made in client.create_acls(list(wanted)).values():
        made.result(20)


def acls_of(cluster: KafkaCluster, principal: str) -> list[AclBinding]:
    anything = (ResourceType.ANY, None, ResourcePatternType.ANY)
    wanted = AclBindingFilter(*anything, principal, None, AclOperation.ANY, AclPermissionType.ANY)
    client = admin(cluster)
    return list(client.describe_acls(wanted).result(20))


@contextmanager
def granted(cluster: KafkaCluster, wanted: Iterable[AclBinding]) -> Iterator[None]:
    """Inside, these are granted, or denied."""
    acls = list(wanted)
    grant(cluster, acls)
    try:
        yield
    finally:
        for acl in acls:
            revoke(cluster, acl)


def revoke(cluster: KafkaCluster, acl: AclBinding) -> None:
    wanted = AclBindingFilter(
        acl.restype, acl.name, acl.resource_pattern_type, acl.principal, acl.host, acl.operation, acl.permission_type
    )
    client = admin(cluster)
    for gone in client.delete_acls([wanted]).values():
        assert len(gone.result(20)) == 1


@contextmanager
def without(cluster: KafkaCluster, acl: AclBinding) -> Iterator[None]:
    """Inside, this one is not granted."""
    revoke(cluster, acl)
    try:
        yield
    finally:
        grant(cluster, [acl])
