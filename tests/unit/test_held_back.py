"""A fetch whose answer a quota leaves empty: it is asked again when the broker reads again, and ends nothing."""

import asyncio
import uuid
from types import SimpleNamespace
from typing import cast

import pytest
from kafka.protocol.consumer import FetchResponse

from kmirror.engine import verify
from kmirror.engine.questions import HeldBack, NotReady, fetch_one
from kmirror.wire.cluster import Cluster
from kmirror.wire.connection import Connection
from kmirror.wire.errors import ProtocolError
from kmirror.wire.fetch import API_KEY, READ_COMMITTED, FetchPartition
from support.raw_frames import Reader, Writer, frame, request, with_server

Topic = FetchResponse.FetchableTopicResponse
TOPIC_ID = uuid.uuid5(uuid.NAMESPACE_DNS, "orders")
ORDERS = FetchPartition("orders", TOPIC_ID.bytes, 0, 5, 1 << 20)
THROTTLE_MS = 300


def answer(throttle_ms: int, ends: list[int]) -> bytes:
    """Of as many partitions as `ends`; none of them has a record."""
    partitions = [
        Topic.PartitionData(partition_index=number, high_watermark=end, last_stable_offset=end, log_start_offset=0)
        for number, end in enumerate(ends)
    ]
    topics = [Topic(topic_id=TOPIC_ID, partitions=partitions)] if ends else []
    return b"\0" + FetchResponse(throttle_time_ms=throttle_ms, responses=topics).encode(version=13)


class Broker:
    """Gives these answers, and remembers when it was asked."""

    def __init__(self, *answers: bytes) -> None:
        self.asked_at: list[float] = []
        self._answers = list(answers)

    async def serve(self, reader: Reader, writer: Writer) -> None:
        while True:
            key, _, correlation, _ = await request(reader)
            assert key == API_KEY
            self.asked_at.append(asyncio.get_running_loop().time())
            writer.write(frame(correlation, self._answers.pop(0)))


def test_held_back_fetch_is_told_as_what_passes_and_the_next_one_waits_until_the_broker_reads() -> None:
    broker = Broker(answer(THROTTLE_MS, []), answer(0, [7]))

    async def act(connection: Connection) -> None:
        with pytest.raises(HeldBack, match=rf"orders\[0\]: .* holds it back for {THROTTLE_MS} ms by a quota") as e:
            await fetch_one(connection, ORDERS, max_wait_ms=0, isolation=READ_COMMITTED)
        assert isinstance(e.value, NotReady)
        found = await fetch_one(connection, ORDERS, max_wait_ms=0, isolation=READ_COMMITTED)
        assert (found.partition, found.high_watermark) == (0, 7)
        assert broker.asked_at[1] - broker.asked_at[0] >= THROTTLE_MS / 1000

    with_server(broker.serve, act)


@pytest.mark.parametrize("ends", [[], [7, 7]])
def test_answer_that_is_not_of_the_one_partition_is_told(ends: list[int]) -> None:
    async def act(connection: Connection) -> None:
        with pytest.raises(ProtocolError, match=f"answers for {len(ends)} partitions"):
            await fetch_one(connection, ORDERS, max_wait_ms=0, isolation=READ_COMMITTED)

    with_server(Broker(answer(0, ends)).serve, act)


def test_comparison_waits_for_a_quota_however_often_it_holds_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not silence: with no patience at all for that, it goes on."""
    monkeypatch.setattr(verify, "_SILENCE_S", 0.0)
    broker = Broker(*[answer(1, [])] * 3, answer(0, [7]))

    async def act(connection: Connection) -> None:
        async def connect(_node: int, _purpose: str) -> Connection:
            return connection

        cluster = SimpleNamespace(role="source", topics={"orders": ()}, leader=lambda *_: 0, connection=connect)
        log = verify._Log(cast("Cluster", cluster), "orders", TOPIC_ID.bytes, 0, asyncio.Lock())
        found = await log.fetch(0, 5, 7, committed=True)
        assert found.last_stable_offset == 7
        assert len(broker.asked_at) == 4

    with_server(broker.serve, act)
