"""ACLs of one cluster. Needs DESCRIBE on the cluster to read them, ALTER to change them."""

from collections.abc import Collection, Iterable
from typing import Any, Final

from confluent_kafka import KafkaException
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
from kmirror.errors import KmirrorError
from kmirror.model.acls import Acl
from kmirror.model.filters import AclFilter
from kmirror.model.rights import SOURCE, Need

_AT_ONCE: Final = 500
_RESOURCES: Final = {"CLUSTER": "BROKER"}
"""librdkafka's name; on the wire it is the same number (org.apache.kafka.common.resource.ResourceType)."""


class AclAdmin:
    """Reads and changes the ACLs of one cluster. All methods block, and raise KmirrorError."""

    def __init__(self, cluster: ClusterAdmin) -> None:
        self._cluster = cluster
        self._client = cluster.client

    def find(self, filters: Iterable[AclFilter]) -> set[Acl]:
        """All that one of these filters chooses, but for kinds of resources that librdkafka does not know."""
        found: set[Acl] = set()
        for wanted in filters:
            found |= self._find(wanted)
        return found

    def create(self, acls: Collection[Acl]) -> dict[Acl, KmirrorError | None]:
        """Each with its refusal, or None. One that exists is done."""
        return self._each(acls, "create", _binding, self._client.create_acls)

    def delete(self, acls: Collection[Acl]) -> dict[Acl, KmirrorError | None]:
        """Exactly these, each with its refusal, or None. One that does not exist is done."""
        return self._each(acls, "delete", lambda acl: AclBindingFilter(*_arguments(acl)), self._client.delete_acls)

    def _find(self, wanted: AclFilter) -> set[Acl]:
        if wanted.operation not in AclOperation.__members__:
            return set()  # one of those that only unknown kinds of resources have
        request = AclBindingFilter(
            ResourceType[_RESOURCES.get(wanted.resource_type, wanted.resource_type)],
            wanted.name,  # type: ignore[arg-type]  # None is any: the library says so, its types do not
            ResourcePatternType[wanted.pattern_type],
            wanted.principal,  # type: ignore[arg-type]
            wanted.host,  # type: ignore[arg-type]
            AclOperation[wanted.operation],
            AclPermissionType[wanted.permission_type],
        )

        def ask(left_s: float) -> set[Acl]:
            answers = self._client.describe_acls(request, request_timeout=left_s).result()
            return {_acl(binding) for binding in answers if binding.restype is not ResourceType.UNKNOWN}

        operation = "DESCRIBE" if self._cluster.side == SOURCE else "ALTER"
        return self._cluster.call("read the ACLs", ask, Need("CLUSTER", operation))

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


def _acl(binding: AclBinding) -> Acl:
    resource = binding.restype.name  # type: ignore[union-attr]
    return Acl(
        resource_type="CLUSTER" if resource == "BROKER" else resource,
        pattern_type=binding.resource_pattern_type.name,  # type: ignore[union-attr]
        name=binding.name,
        principal=binding.principal,
        host=binding.host,
        operation=binding.operation.name,  # type: ignore[union-attr]
        permission_type=binding.permission_type.name,  # type: ignore[union-attr]
    )
