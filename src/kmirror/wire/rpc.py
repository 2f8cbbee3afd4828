"""The small requests, one function each: kafka-python packs and reads them, these give them types and check errors.

All raise ConnectionLost when the connection goes, BrokerError for an error code in the answer.
"""

import time
import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from kafka.protocol.admin import (
    DescribeProducersRequest,
    DescribeProducersResponse,
    DescribeTransactionsRequest,
    DescribeTransactionsResponse,
)
from kafka.protocol.consumer import ListOffsetsRequest, ListOffsetsResponse
from kafka.protocol.metadata import (
    ApiVersionsRequest,
    ApiVersionsResponse,
    FindCoordinatorRequest,
    FindCoordinatorResponse,
    MetadataRequest,
    MetadataResponse,
)
from kafka.protocol.producer import (
    InitProducerIdRequest,
    InitProducerIdResponse,
)

from kmirror.errors import ClusterError
from kmirror.wire import markers
from kmirror.wire.answers import Answers, answers_of, reading, the_only
from kmirror.wire.connection import Connection
from kmirror.wire.errors import BrokerError, check
from kmirror.wire.markers import MarkerWriter
from kmirror.wire.producer_state import ProducerState
from kmirror.wire.topics import Place, by_topic

LATEST: Final = -1
EARLIEST: Final = -2
AS_CONSUMER: Final = -1
AS_REPLICA: Final = -2
"""ListOffsets with this replica id gives the log end, not the high watermark: they differ after a leader change."""
_TRANSACTION_TIMEOUT_MS: Final = 60_000
_TRANSACTION: Final = 1  # a kind of coordinator; 0 are those of consumer groups
_MANY_COORDINATORS: Final = 4
_NO_TOPIC_ID: Final = uuid.UUID(int=0)


@dataclass(frozen=True, slots=True)
class TopicMetadata:
    """`topic_id` is empty where the broker has none (before 2.8); `leaders` is -1 for a partition without one."""

    name: str
    topic_id: bytes
    error: int
    leaders: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class ClusterMetadata:
    cluster_id: str
    brokers: Mapping[int, tuple[str, int]]
    topics: Mapping[str, TopicMetadata]


async def ping(connection: Connection) -> float:
    """Seconds until the broker has answered what costs it nothing."""
    began = time.monotonic()
    await connection.call(ApiVersionsRequest(), ApiVersionsResponse, 0)
    return time.monotonic() - began


async def metadata(connection: Connection, topics: Sequence[str]) -> ClusterMetadata:
    version = connection.version_of(3, 9, 12)
    request = MetadataRequest(
        topics=[MetadataRequest.MetadataRequestTopic(name=t, topic_id=_NO_TOPIC_ID) for t in topics],
        allow_auto_topic_creation=False,
        include_cluster_authorized_operations=False,
        include_topic_authorized_operations=False,
    )
    answer = await connection.call(request, MetadataResponse, version)
    with reading(connection, "Metadata"):
        found = {}
        for t in answer.topics:
            # A topic that does not exist has the zero id, which the codec gives as None.
            topic_id = t.topic_id.bytes if version >= 10 and t.topic_id is not None else b""
            leaders = {p.partition_index: -1 if p.error_code == 5 else p.leader_id for p in t.partitions}
            found[t.name] = TopicMetadata(t.name, topic_id, t.error_code, leaders)
        brokers = {b.node_id: (b.host, b.port) for b in answer.brokers}
        return ClusterMetadata(answer.cluster_id or "", brokers, found)


async def transaction_coordinators(
    connection: Connection, transactional_ids: Collection[str]
) -> Answers[str, tuple[int, str, int]]:
    """(node id, host, port) of each one's coordinator, or its error: in one request where the broker can (KIP-699)."""
    version = connection.version_of(10, 1, _MANY_COORDINATORS)
    if version < _MANY_COORDINATORS:
        return {name: await _one_coordinator(connection, name, version) for name in transactional_ids}
    request = FindCoordinatorRequest(key_type=_TRANSACTION, coordinator_keys=list(transactional_ids))
    answer = await connection.call(request, FindCoordinatorResponse, version)
    with reading(connection, "FindCoordinator"):
        found = {item.key: (item.error_code, (item.node_id, item.host, item.port)) for item in answer.coordinators}
        return answers_of(transactional_ids, found, "FindCoordinator")


async def _one_coordinator(
    connection: Connection, transactional_id: str, version: int
) -> tuple[int, str, int] | ClusterError:
    request = FindCoordinatorRequest(key=transactional_id, key_type=_TRANSACTION)
    answer = await connection.call(request, FindCoordinatorResponse, version)
    if answer.error_code:
        return BrokerError(answer.error_code, "FindCoordinator")
    return answer.node_id, answer.host, answer.port


async def init_producer_id(connection: Connection, transactional_id: str) -> tuple[int, int]:
    """(producer id, producer epoch): the same id at each call, and an epoch that grows (KIP-98)."""
    request = InitProducerIdRequest(
        transactional_id=transactional_id,
        transaction_timeout_ms=_TRANSACTION_TIMEOUT_MS,
        producer_id=-1,
        producer_epoch=-1,
    )
    answer = await connection.call(request, InitProducerIdResponse, connection.version_of(22, 2, 4))
    check(answer.error_code, "InitProducerId")
    return answer.producer_id, answer.producer_epoch


async def list_offset(connection: Connection, topic: str, partition: int, *, at: int, replica: int) -> int:
    """The offset at timestamp `at` (LATEST, EARLIEST)."""
    return the_only(await list_offsets(connection, [(topic, partition)], at=at, replica=replica))


async def list_offsets(
    connection: Connection, places: Collection[Place], *, at: int, replica: int
) -> Answers[Place, int]:
    """Of each as `list_offset`, or its error."""
    item = ListOffsetsRequest.ListOffsetsTopic
    part = item.ListOffsetsPartition
    topics = [
        item(name=name, partitions=[part(partition_index=p, current_leader_epoch=-1, timestamp=at) for p in partitions])
        for name, partitions in by_topic(places).items()
    ]
    request = ListOffsetsRequest(replica_id=replica, isolation_level=0, topics=topics)
    answer = await connection.call(request, ListOffsetsResponse, connection.version_of(2, 4, 5))
    with reading(connection, "ListOffsets"):
        found = {
            (topic.name, p.partition_index): (p.error_code, int(p.offset))
            for topic in answer.topics
            for p in topic.partitions
        }
        return answers_of(places, found, "ListOffsets")


async def log_end(connection: Connection, topic: str, partition: int) -> int:
    return await list_offset(connection, topic, partition, at=LATEST, replica=AS_REPLICA)


async def producer_state(connection: Connection, topic: str, partition: int, producer_id: int) -> ProducerState | None:
    """What the partition's leader remembers of `producer_id` (KIP-664); None if it does not know it."""
    return the_only(await producer_states(connection, {(topic, partition): producer_id}))


async def producer_states(
    connection: Connection, producer_ids: Mapping[Place, int]
) -> Answers[Place, ProducerState | None]:
    """Of each partition as `producer_state` with its producer id, or its error."""
    topics = [
        DescribeProducersRequest.TopicRequest(name=name, partition_indexes=partitions)
        for name, partitions in by_topic(producer_ids).items()
    ]
    request = DescribeProducersRequest(topics=topics)
    answer = await connection.call(request, DescribeProducersResponse, connection.version_of(61, 0, 0))
    with reading(connection, "DescribeProducers"):
        found = {}
        for topic in answer.topics:
            for p in topic.partitions:
                place = (topic.name, p.partition_index)
                found[place] = (p.error_code, _state_of(p.active_producers, producer_ids.get(place)))
        return answers_of(producer_ids, found, "DescribeProducers")


def _state_of(producers: Iterable[Any], producer_id: int | None) -> ProducerState | None:
    for p in producers:
        if p.producer_id == producer_id:
            return ProducerState(int(p.producer_epoch), int(p.last_sequence), int(p.coordinator_epoch))
    return None


async def transaction_state(connection: Connection, transactional_id: str) -> tuple[int, int]:
    """(producer id, producer epoch) that the coordinator holds for `transactional_id` now (KIP-664)."""
    request = DescribeTransactionsRequest(transactional_ids=[transactional_id])
    answer = await connection.call(request, DescribeTransactionsResponse, connection.version_of(65, 0, 0))
    with reading(connection, "DescribeTransactions"):
        state = answer.transaction_states[0]
        check(state.error_code, "DescribeTransactions")
        return state.producer_id, state.producer_epoch


async def try_marker(connection: Connection, topic: str) -> int:
    """The error code that WriteTxnMarkers gives for a topic that does not exist: nothing is written anywhere."""
    version = connection.version_of(markers.API_KEY, markers.LEAST_VERSION, markers.MOST_VERSION)
    body = markers.encode_markers(version, {(topic, 0): 1}, MarkerWriter(0, 0, 0))
    frame = await connection.send(markers.API_KEY, version, [body], flexible=True, timeout=10.0)
    with reading(connection, "WriteTxnMarkers"):
        return markers.decode_markers(frame)[topic, 0]
