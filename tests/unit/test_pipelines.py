"""Large batches are shared out among the pipelines to a broker, small ones take the first; none overtakes another."""

import asyncio
from types import SimpleNamespace
from typing import Any

from kmirror.engine.budget import Budget
from kmirror.engine.copy import PartitionCopy
from kmirror.engine.destination import DestinationProducer
from kmirror.engine.pipelines import PIPELINES, Pipelines
from kmirror.engine.steps import Append
from kmirror.model.mirror import Mirror
from kmirror.model.states import MirrorState
from kmirror.wire.cluster import ConnectionCounters
from kmirror.wire.producer_state import ProducerState
from kmirror.wire.topic_id import topic_id_text
from support.batches import dense
from support.unanswered import Unanswered

ID = topic_id_text(bytes(range(16)))
MIRROR = Mirror("t", "s", ID, ID, 9, MirrorState.ACTIVE, 1)


def a_copy(partition: int = 0, node: int = 4, *, piped: bool = True) -> PartitionCopy:
    copy = PartitionCopy(MIRROR, partition, Budget(1 << 20))
    copy.opened(node, 0, ProducerState(0, -1), -1)
    copy.piped, copy.small = piped, not piped
    return copy


def append(copy: PartitionCopy, base: int, count: int = 2) -> Append:
    step = Append(base, count, memoryview(bytearray(dense(base, count))), 1000, 1000)
    copy.enqueue(step)
    return step


def chosen(pipelines: Pipelines, *copies: PartitionCopy) -> list[int]:
    for copy in copies:
        pipelines.choose(copy)
    return [copy.pipeline for copy in copies]


def test_partitions_of_large_batches_are_shared_out_for_each_broker() -> None:
    pipelines = Pipelines()
    several = [a_copy(p, node) for node in (4, 5) for p in range(4)]
    assert chosen(pipelines, *several) == [0, 1, 0, 1] * 2
    assert chosen(pipelines, *reversed(several)) == [1, 0, 1, 0] * 2, "each keeps its own"


def test_small_batches_take_the_first_and_large_ones_go_back_to_theirs() -> None:
    pipelines = Pipelines()
    first, second, third = (a_copy(p) for p in range(3))
    assert chosen(pipelines, first, second) == [0, 1]
    second.piped = False
    assert chosen(pipelines, second) == [1], "one large batch that found no pipe"
    second.small = True
    assert chosen(pipelines, second) == [0]
    assert chosen(pipelines, third) == [0]
    second.piped, second.small = True, False
    assert chosen(pipelines, second) == [1]


def test_a_far_destination_has_one() -> None:
    pipelines = Pipelines()
    first, second = a_copy(0), a_copy(1)
    assert chosen(pipelines, first, second) == [0, 1]
    second.piped, second.far = False, True
    assert chosen(pipelines, second) == [0]


def test_another_leader_has_pipelines_of_its_own() -> None:
    pipelines = Pipelines()
    first, second = a_copy(0), a_copy(1)
    assert chosen(pipelines, first, second) == [0, 1]
    second.closed()
    second.opened(5, 0, ProducerState(0, -1), -1)
    assert chosen(pipelines, second) == [0]
    second.closed()
    second.opened(5, 0, ProducerState(0, -1), -1)
    assert chosen(pipelines, second) == [0]


def test_a_partition_stays_while_something_is_on_its_way() -> None:
    pipelines = Pipelines()
    copy = a_copy(1)
    assert chosen(pipelines, a_copy(0), copy) == [0, 1]
    copy.appender.send(append(copy, 0))
    copy.piped, copy.small = False, True
    assert chosen(pipelines, copy) == [1]
    assert copy.next_pipeline == 0
    copy.appender.settle(0, 0, 0.0)
    assert chosen(pipelines, copy) == [0]


async def turns() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


def test_what_goes_over_another_connection_waits_for_all_answers() -> None:
    connections = [Unanswered() for _ in range(PIPELINES)]

    async def connection(_node: int, purpose: str, number: int) -> Unanswered:
        assert purpose == "produce"
        return connections[number]

    def on_its_way() -> list[int]:
        return [len(connection.askers) for connection in connections]

    async def run() -> None:
        cluster: Any = SimpleNamespace(round_trip_s=0.0, connection=connection, counters=ConnectionCounters())
        pipelines = Pipelines()

        def send_on(copy: PartitionCopy) -> None:
            pipelines.choose(copy)
            producers[copy.pipeline].ready(copy)

        producers = [
            DestinationProducer(
                4,
                number,
                cluster,
                Budget(1 << 20),
                producer_id=lambda: 7,
                request_timeout_s=1.0,
                on_drained=send_on,
                on_broken=lambda *_: None,
                on_end=lambda *_: None,
            )
            for number in range(PIPELINES)
        ]
        running = [asyncio.create_task(producer.run()) for producer in producers]
        pipelines.choose(a_copy(0))
        copy = a_copy(1, piped=False)
        for base in (0, 2):
            append(copy, base)
            send_on(copy)
            await turns()
        assert on_its_way() == [2, 0]
        copy.piped, copy.small = True, False
        append(copy, 4)
        send_on(copy)
        await turns()
        assert on_its_way() == [2, 0], "it would overtake them"
        connections[0].answer(0)
        await turns()
        assert on_its_way() == [1, 0]
        connections[0].answer(2)
        await turns()
        assert on_its_way() == [0, 1], "only over the other"
        connections[1].answer(4)
        await turns()
        assert on_its_way() == [0, 0]
        assert copy.appender.log_end == 6
        assert copy.drained
        for task in running:
            task.cancel()

    asyncio.run(run())
