"""ACLs as a broker tells them (DescribeAcls, api 29).

Not by librdkafka: where a broker refuses to tell, its answer is the same as where there are none.
"""

import asyncio
from collections.abc import Iterable, Iterator
from typing import Any, Final

from kafka.protocol.admin import (
    ACLOperation,
    ACLPermissionType,
    ACLResourcePatternType,
    ACLResourceType,
    DescribeAclsRequest,
    DescribeAclsResponse,
)

from kmirror.model.access import Access
from kmirror.model.acls import Acl
from kmirror.model.filters import AclFilter
from kmirror.wire.answers import reading
from kmirror.wire.dial import connect_any
from kmirror.wire.errors import check

_LEAST, _MOST = 1, 3
_KINDS: Final = frozenset(
    {ACLResourceType.TOPIC, ACLResourceType.GROUP, ACLResourceType.CLUSTER, ACLResourceType.TRANSACTIONAL_ID}
)
_OPERATIONS: Final = frozenset(ACLOperation)
"""Those that we know: later brokers have more."""


def find_acls(access: Access, filters: Iterable[AclFilter], timeout_s: float) -> set[Acl]:
    """All that one of these filters chooses. Blocks; raises ClusterError, BrokerError where the broker refuses."""
    return asyncio.run(_find(access, list(filters), timeout_s))


async def _find(access: Access, filters: list[AclFilter], timeout_s: float) -> set[Acl]:
    found: set[Acl] = set()
    connection = await connect_any(access)
    try:
        version = connection.version_of(DescribeAclsRequest.API_KEY, _LEAST, _MOST)
        for wanted in filters:
            answer = await connection.call(_request(wanted), DescribeAclsResponse, version, timeout=timeout_s)
            with reading(connection, "DescribeAcls"):
                check(answer.error_code, "DescribeAcls")
                found |= set(_acls(answer))
    finally:
        connection.close()
    return found


def _request(wanted: AclFilter) -> Any:
    return DescribeAclsRequest(
        resource_type_filter=ACLResourceType[wanted.resource_type],
        resource_name_filter=wanted.name,
        pattern_type_filter=ACLResourcePatternType[wanted.pattern_type],
        principal_filter=wanted.principal,
        host_filter=wanted.host,
        operation=ACLOperation[wanted.operation],
        permission_type=ACLPermissionType[wanted.permission_type],
    )


def _acls(answer: Any) -> Iterator[Acl]:
    for resource in answer.resources:
        if resource.resource_type not in _KINDS:
            continue
        for acl in resource.acls:
            if acl.operation not in _OPERATIONS:
                continue
            yield Acl(
                resource_type=ACLResourceType(resource.resource_type).name,
                pattern_type=ACLResourcePatternType(resource.pattern_type).name,
                name=resource.resource_name,
                principal=acl.principal,
                host=acl.host,
                operation=ACLOperation(acl.operation).name,
                permission_type=ACLPermissionType(acl.permission_type).name,
            )
