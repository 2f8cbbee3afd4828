"""ACLs of one cluster. Needs DESCRIBE on the cluster to read them, ALTER to change them."""

from collections.abc import Collection, Iterable
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # its own names, not marked as exported
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    ResourcePatternType,
    ResourceType,
)

from kmirror.admin.cluster import ClusterAdmin
from kmirror.admin.failures import error_of
from kmirror.errors import KmirrorError, Unreachable
from kmirror.model.acls import Acl
from kmirror.model.filters import AclFilter
from kmirror.model.rights import SOURCE, Need
from kmirror.wire.acls import find_acls
from kmirror.wire.errors import BrokerError

_AT_ONCE: Final = 500
_RESOURCES: Final = {"CLUSTER": "BROKER"}
"""librdkafka's name; on the wire it is the same number (org.apache.kafka.common.resource.ResourceType)."""


class AclAdmin:
    """Reads and changes the ACLs of one cluster. All methods block, and raise KmirrorError."""

    def __init__(self, cluster: ClusterAdmin) -> None:
        self._cluster = cluster
        self._client = cluster.client

    def find(self, filters: Iterable[AclFilter]) -> set[Acl]:
        """All that one of these filters chooses, but for kinds of resources that we don't know."""
        operation = "DESCRIBE" if self._cluster.side == SOURCE else "ALTER"
        # Operations that we can't ask for are those of kinds that we don't know.
        known = [wanted for wanted in filters if wanted.operation in AclOperation.__members__]
        try:
            return find_acls(self._cluster.access, known, self._cluster.timeout_s)
        except BrokerError as e:
            refused = KafkaError(e.kafka_code)
            raise self._cluster.refusal(refused, "read the ACLs", Need("CLUSTER", operation)) from e

    def create(self, acls: Collection[Acl]) -> dict[Acl, KmirrorError | None]:
        """Each with its refusal, or None. One that exists is done."""
        return self._each(acls, "create", _binding, self._client.create_acls)

    def delete(self, acls: Collection[Acl]) -> dict[Acl, KmirrorError | None]:
        """Exactly these, each with its refusal, or None. One that does not exist is done."""
        return self._each(acls, "delete", lambda acl: AclBindingFilter(*_arguments(acl)), self._client.delete_acls)

    def _each(self, acls: Collection[Acl], doing: str, made: Any, act: Any) -> dict[Acl, KmirrorError | None]:
        out: dict[Acl, KmirrorError | None] = {}
        waiting = list(acls)
        while waiting:
            chunk, waiting = waiting[:_AT_ONCE], waiting[_AT_ONCE:]
            by_binding = {made(acl): acl for acl in chunk}
            answers = act(list(by_binding), request_timeout=self._cluster.timeout_s)
            for binding, answer in answers.items():
                acl = by_binding[binding]
                try:
                    answer.result()
                    out[acl] = None
                except KafkaException as failure:
                    out[acl] = self._cluster.refusal(error_of(failure), f"{doing} ACL {acl}", Need("CLUSTER", "ALTER"))
        if any(isinstance(refused, Unreachable) for refused in out.values()):
            self._cluster.renew(self._client)
        return out


def _binding(acl: Acl) -> AclBinding:
    return AclBinding(*_arguments(acl))


def _arguments(acl: Acl) -> tuple[Any, ...]:
    return (
        ResourceType[_RESOURCES.get(acl.resource_type, acl.resource_type)],
        acl.name,
        ResourcePatternType[acl.pattern_type],
        acl.principal,
        acl.host,
        AclOperation[acl.operation],
        AclPermissionType[acl.permission_type],
    )
