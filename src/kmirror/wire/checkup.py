"""What every broker of a cluster answers to a stranger: can it be reached, what does it speak, what time is it there.

Nothing is written anywhere.
"""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from kafka.protocol.admin import DescribeQuorumRequest, DescribeQuorumResponse

from kmirror.errors import ClusterError
from kmirror.model.access import Access
from kmirror.model.bootstrap import parse_bootstrap
from kmirror.wire import fetch, markers, produce, rpc
from kmirror.wire.answers import reading
from kmirror.wire.connection import Connection
from kmirror.wire.dial import connect
from kmirror.wire.errors import check

_PATIENCE_S: Final = 5.0
_METADATA_LOG: Final = "__cluster_metadata"

_BOTH: Final = {"Metadata": (3, 9, 12), "ListOffsets": (2, 4, 5), "Fetch": (fetch.API_KEY, fetch.BY_NAME, fetch.BY_ID)}
NEEDED: Final[Mapping[str, Mapping[str, tuple[int, int, int]]]] = MappingProxyType(
    {
        "source": _BOTH,
        "destination": {
            **_BOTH,
            "Produce": (produce.API_KEY, produce.BY_NAME, produce.BY_ID),
            "FindCoordinator": (10, 1, 3),
            "InitProducerId": (22, 2, 4),
            "DescribeProducers": (61, 0, 0),
            "DescribeTransactions": (65, 0, 0),
            "WriteTxnMarkers": (markers.API_KEY, markers.LEAST_VERSION, markers.MOST_VERSION),
        },
    }
)
"""By side the requests that the copy makes: api key, lowest and highest version that kmirror can speak."""


@dataclass(frozen=True, slots=True)
class BrokerAnswer:
    """`fault` says why it can't be reached; `missing` are the needed requests that it does not speak."""

    address: str
    broker: int | None = None
    fault: str = ""
    missing: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ClusterAnswer:
    """`skew_ms`: how far the cluster's clock is ahead of ours, give or take `uncertain_ms`. None: not known."""

    bootstrap: tuple[BrokerAnswer, ...]
    cluster_id: str = ""
    brokers: tuple[BrokerAnswer, ...] = ()
    skew_ms: int | None = None
    uncertain_ms: int = 0
    clock_fault: str = ""


def ask_cluster(access: Access, side: str) -> ClusterAnswer:
    """Asks each bootstrap server, and each broker by the address that it advertises. Blocks; raises nothing."""
    return asyncio.run(_ask(access, side))


async def _ask(access: Access, side: str) -> ClusterAnswer:
    first = await asyncio.gather(*(_look(access, host, port, side) for host, port in parse_bootstrap(access.bootstrap)))
    given = tuple(answer for answer, _ in first)
    connections = [connection for _, connection in first if connection]
    try:
        if not connections:
            return ClusterAnswer(given)
        found = await rpc.metadata(connections[0], [])
        every = await asyncio.gather(
            *(_look(access, host, port, side, node) for node, (host, port) in found.brokers.items())
        )
        connections += [connection for _, connection in every if connection]
        skew_ms, uncertain_ms, fault = await _clock(connections[0])
        return ClusterAnswer(given, found.cluster_id, tuple(a for a, _ in every), skew_ms, uncertain_ms, fault)
    except ClusterError as e:
        return ClusterAnswer(given, clock_fault=e.message)
    finally:
        for connection in connections:
            connection.close()


async def _look(
    access: Access, host: str, port: int, side: str, node: int | None = None
) -> tuple[BrokerAnswer, Connection | None]:
    address = f"{host}:{port}"
    try:
        connection = await connect(access, host, port, timeout=_PATIENCE_S)
    except ClusterError as e:
        return BrokerAnswer(address, node, e.message), None
    return BrokerAnswer(address, node, missing=_missing(connection.versions, side)), connection


def _missing(versions: Mapping[int, tuple[int, int]], side: str) -> tuple[str, ...]:
    return tuple(
        name
        for name, (key, least, most) in NEEDED[side].items()
        if key not in versions or versions[key][0] > most or versions[key][1] < least
    )


async def _clock(connection: Connection) -> tuple[int | None, int, str]:
    """How much the controller's clock is ahead: the leader of the metadata quorum tells its time of now (KIP-836)."""
    topics = DescribeQuorumRequest.TopicData
    request = DescribeQuorumRequest(
        topics=[topics(topic_name=_METADATA_LOG, partitions=[topics.PartitionData(partition_index=0)])]
    )
    try:
        version = connection.version_of(55, 1, 1)
        before = time.time_ns()
        answer = await connection.call(request, DescribeQuorumResponse, version, timeout=_PATIENCE_S)
        after = time.time_ns()
        with reading(connection, "DescribeQuorum"):
            check(answer.error_code, "DescribeQuorum")
            quorum = answer.topics[0].partitions[0]
            check(quorum.error_code, "DescribeQuorum")
            leader = [voter for voter in quorum.current_voters if voter.replica_id == quorum.leader_id]
            told = [voter.last_caught_up_timestamp for voter in leader]
    except ClusterError as e:
        return None, 0, e.message
    if not told or told[0] <= 0:
        return None, 0, "the leader of the metadata quorum tells no time"
    middle_ms, uncertain_ms = (before + after) // 2_000_000, max(1, (after - before) // 2_000_000)
    return told[0] - middle_ms, uncertain_ms, ""
