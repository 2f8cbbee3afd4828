"""What many partitions ask a broker at one time: few requests, and to each its own answer or its own error."""

import asyncio
import struct
import uuid
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kafka.protocol.admin import DescribeProducersResponse, DescribeTransactionsResponse
from kafka.protocol.consumer import ListOffsetsResponse
from kafka.protocol.metadata import FindCoordinatorResponse

from kmirror.engine import questions as module
from kmirror.engine.questions import NotReady, Questions, Where
from kmirror.errors import ClusterError
from kmirror.wire import rpc
from kmirror.wire.answers import Answers, answers_of
from kmirror.wire.connection import Connection
from kmirror.wire.errors import NONE, BrokerError, ConnectionLost, ProtocolError
from kmirror.wire.fetch import READ_UNCOMMITTED, Fetched, FetchPartition
from kmirror.wire.producer_state import ProducerState
from kmirror.wire.rpc import TopicMetadata
from kmirror.wire.topics import Place
from kmirror.wire.transactions import transaction_stages
from support.raw_frames import Reader, Writer, frame, request, with_server

NOT_LEADER, DENIED, UNKNOWN_ID = 6, 29, 105
TOPIC_ID = uuid.uuid5(uuid.NAMESPACE_DNS, "orders").bytes


# --- one request, several answers

Ask = Callable[[Connection], Awaitable[Answers[Any, Any]]]


def answered(ask: Ask, key: int, version: int, body: bytes) -> tuple[Answers[Any, Any], int]:
    """What `ask` makes of `body`, and how many requests it sent."""
    found: list[Answers[Any, Any]] = []
    requests: list[int] = []

    async def serve(reader: Reader, writer: Writer) -> None:
        while True:
            asked, asked_version, correlation, _ = await request(reader)
            assert (asked, asked_version) == (key, version)
            requests.append(asked)
            writer.write(frame(correlation, body))

    async def act(connection: Connection) -> None:
        found.append(await ask(connection))

    with_server(serve, act, hello=struct.pack(">hi", 0, 1) + struct.pack(">hhh", key, 0, version))
    return found[0], len(requests)


def told(answers: Answers[Any, Any]) -> dict[Any, Any]:
    """Values as they are, errors by their code."""
    out: dict[Any, Any] = {}
    for key, answer in answers.items():
        code = answer.kafka_code if isinstance(answer, BrokerError) else type(answer)
        out[key] = code if isinstance(answer, ClusterError) else answer
    return out


def test_one_that_is_refused_or_left_out_never_stops_its_neighbours() -> None:
    place = [("orders", 0), ("orders", 1), ("bills", 0), ("bills", 7)]

    part = ListOffsetsResponse.ListOffsetsTopicResponse.ListOffsetsPartitionResponse
    ends = [
        ListOffsetsResponse.ListOffsetsTopicResponse(name=name, partitions=parts)
        for name, parts in (
            ("bills", [part(partition_index=0, error_code=NONE, offset=30, timestamp=-1, leader_epoch=1)]),
            (
                "orders",
                [
                    part(partition_index=1, error_code=NONE, offset=11, timestamp=-1, leader_epoch=1),
                    part(partition_index=0, error_code=NOT_LEADER, offset=-1, timestamp=-1, leader_epoch=-1),
                ],
            ),
        )
    ]
    body = ListOffsetsResponse(throttle_time_ms=0, topics=ends).encode(version=5)
    found, requests = answered(lambda c: rpc.list_offsets(c, place, at=rpc.LATEST, replica=rpc.AS_REPLICA), 2, 5, body)
    assert told(found) == {place[0]: NOT_LEADER, place[1]: 11, place[2]: 30, place[3]: ProtocolError}
    assert requests == 1

    topic = DescribeProducersResponse.TopicResponse
    described = topic.PartitionResponse

    def state(producer_id: int, last_sequence: int) -> Any:
        return described.ProducerState(
            producer_id=producer_id,
            producer_epoch=2,
            last_sequence=last_sequence,
            last_timestamp=0,
            coordinator_epoch=3,
            current_txn_start_offset=-1,
        )

    def partition(index: int, code: int, *producers: Any) -> Any:
        return described(partition_index=index, error_code=code, error_message=None, active_producers=list(producers))

    topics = [
        topic(name="orders", partitions=[partition(0, NONE, state(9, 5), state(7, 6)), partition(1, DENIED)]),
        topic(name="bills", partitions=[partition(0, NONE, state(9, 5))]),
    ]
    body = b"\0" + DescribeProducersResponse(throttle_time_ms=0, topics=topics).encode(version=0)
    states, requests = answered(lambda c: rpc.producer_states(c, dict.fromkeys(place, 7)), 61, 0, body)
    assert told(states) == {
        place[0]: ProducerState(2, 6, 3),
        place[1]: DENIED,
        place[2]: None,
        place[3]: ProtocolError,
    }
    assert requests == 1

    names = ["a", "b", "c", "d"]
    transactions = [
        DescribeTransactionsResponse.TransactionState(
            error_code=code,
            transactional_id=name,
            transaction_state=stage,
            transaction_timeout_ms=0,
            transaction_start_time_ms=0,
            producer_id=1,
            producer_epoch=1,
            topics=[],
        )
        for name, code, stage in (("c", NONE, "Ongoing"), ("a", UNKNOWN_ID, ""), ("b", NOT_LEADER, ""))
    ]
    body = b"\0" + DescribeTransactionsResponse(throttle_time_ms=0, transaction_states=transactions).encode(version=0)
    stages, requests = answered(lambda c: transaction_stages(c, names), 65, 0, body)
    assert told(stages) == {"a": None, "b": NOT_LEADER, "c": "Ongoing", "d": ProtocolError}
    assert requests == 1


def test_coordinators_are_asked_for_at_once_where_the_broker_can() -> None:
    names = ["a", "b", "c"]
    found = [
        FindCoordinatorResponse.Coordinator(key=key, node_id=node, host="h", port=1, error_code=code, error_message="")
        for key, node, code in (("b", 5, NONE), ("a", -1, DENIED))
    ]
    body = b"\0" + FindCoordinatorResponse(throttle_time_ms=0, coordinators=found).encode(version=4)
    answers, requests = answered(lambda c: rpc.transaction_coordinators(c, names), 10, 4, body)
    assert told(answers) == {"a": DENIED, "b": (5, "h", 1), "c": ProtocolError}
    assert requests == 1

    one = FindCoordinatorResponse(throttle_time_ms=0, error_code=0, error_message="", node_id=4, host="h", port=2)
    answers, requests = answered(lambda c: rpc.transaction_coordinators(c, names), 10, 3, b"\0" + one.encode(version=3))
    assert told(answers) == dict.fromkeys(names, (4, "h", 2))
    assert requests == 3, "one after the other before Kafka 3.0"


# --- who asks at one time


@dataclass
class Brokers:
    """A cluster whose connections are played: of each request which partitions of which broker it was about."""

    leads: dict[int, int]
    gone: Collection[int] = ()
    refused: Collection[int] = ()
    requests: list[tuple[str, int, int]] = field(default_factory=list)
    role: str = "destination"

    def __post_init__(self) -> None:
        self.topics = {"orders": TopicMetadata("orders", TOPIC_ID, 0, self.leads)}

    def leader(self, _topic: str, partition: int) -> int | None:
        node = self.leads.get(partition, -1)
        return node if node >= 0 else None

    async def connection(self, node: int, purpose: str) -> Any:
        await asyncio.sleep(0)
        if node in self.gone:
            raise ConnectionLost(f"broker {node} is away")
        return node

    async def ends(self, node: Any, places: Collection[Place], *, at: int, replica: int) -> Answers[Place, int]:
        assert (at, replica) in {(rpc.LATEST, rpc.AS_REPLICA), (rpc.EARLIEST, rpc.AS_CONSUMER)}
        self.requests.append(("end" if at == rpc.LATEST else "start", node, len(places)))
        await asyncio.sleep(0)
        return answers_of(
            places, {place: (NOT_LEADER if place[1] in self.refused else NONE, place[1]) for place in places}, "Ends"
        )


def test_what_is_asked_of_a_broker_at_one_time_is_one_request(monkeypatch: pytest.MonkeyPatch) -> None:
    brokers = Brokers({p: p % 3 for p in range(300)} | {300: -1}, gone={2}, refused={0, 7})
    monkeypatch.setattr(rpc, "list_offsets", brokers.ends)
    ask = Questions(brokers, "produce")  # type: ignore[arg-type]

    async def one(partition: int) -> int:
        return await ask.log_end(ask.where("orders", TOPIC_ID, partition))

    async def all_of_them() -> list[int | BaseException]:
        return await asyncio.gather(*map(one, range(301)), return_exceptions=True)

    answers = asyncio.run(all_of_them())
    for partition, answer in enumerate(answers):
        if partition == 300:
            assert isinstance(answer, NotReady)
        elif partition % 3 == 2:
            assert isinstance(answer, ConnectionLost), "the others' broker is well"
        elif partition in {0, 7}:
            assert isinstance(answer, BrokerError), "alone"
            assert f"orders[{partition}]" in answer.message
        else:
            assert answer == partition
    assert brokers.requests == [("end", 0, 100), ("end", 1, 100)]


def test_a_topic_that_was_made_anew_is_not_asked_about() -> None:
    ask = Questions(Brokers({0: 1}), "produce")  # type: ignore[arg-type]
    assert ask.where("orders", TOPIC_ID, 0) == Where(1, ("orders", 0))
    for topic, topic_id in (("orders", bytes(16)), ("bills", TOPIC_ID)):
        with pytest.raises(NotReady, match="not known to the cluster"):
            ask.where(topic, topic_id, 0)


# --- fetches

HEADER = 17
"""Offset, length, leader epoch and magic of a batch."""


def batch(offset: int, size: int) -> bytes:
    return struct.pack(">qiib", offset, size - 12, 0, 2) + bytes(size - HEADER)


@dataclass
class Log:
    """What a partition holds behind the offset that is asked for, and the most that is asked for."""

    batches: list[int]
    most: int
    error: int = 0


LOGS = st.lists(
    st.builds(
        Log,
        batches=st.lists(st.integers(HEADER, 90), max_size=4),
        most=st.integers(1, 120),
        error=st.sampled_from([0, 0, 0, 1]),
    ),
    min_size=1,
    max_size=12,
)


@given(LOGS, st.integers(1, 200))
def test_whoever_has_a_batch_gets_one_whole_whatever_there_is_room_for(logs: list[Log], room: int) -> None:
    """As a broker does it (ReplicaManager.readFromLog): the first partition that has records gives a whole batch, the
    others as many bytes as there is room for, if only a part of a batch.
    """
    requests = 0

    async def fetch(_: object, items: Sequence[FetchPartition], *, max_wait_ms: int, isolation: int) -> list[Fetched]:
        nonlocal requests
        requests += 1
        left, given, out = room, False, []
        for item in items:
            log = logs[item.partition]
            held = b"" if log.error else b"".join(batch(n, size) for n, size in enumerate(log.batches))
            most = max(0, min(left, log.most))
            if held and not given:
                most, given = max(most, log.batches[0]), True
            held = held[:most]
            left -= len(held)
            out.append(Fetched("orders", item.partition, log.error, 9, 9, 0, (), memoryview(held)))
        return out

    items = {("orders", p): FetchPartition("orders", TOPIC_ID, p, 0, log.most) for p, log in enumerate(logs)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "fetch_some", fetch)
        answers = asyncio.run(module._fetch_all(None, items, isolation=READ_UNCOMMITTED))  # type: ignore[arg-type]
    assert answers.keys() == items.keys()
    for (_, partition), answer in answers.items():
        log = logs[partition]
        assert isinstance(answer, Fetched)
        assert (answer.partition, answer.error) == (partition, log.error)
        assert module._holds_a_batch(answer) == bool(log.batches and not log.error)
    assert requests <= 1 + sum(bool(log.batches) for log in logs)
