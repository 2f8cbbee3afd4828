"""Large batches are shared out among the pipelines to a broker, small ones take the first; none overtakes another."""

import asyncio
from typing import Any

from kmirror.engine.budget import Budget
from kmirror.engine.copy import PartitionCopy
from kmirror.engine.destination import DestinationProducer
from kmirror.engine.pipelines import PIPELINES, Pipelines
from kmirror.engine.steps import Append
from kmirror.model.mirror import Mirror
from kmirror.model.states import MirrorState
from kmirror.wire.producer_state import ProducerState
from kmirror.wire.topic_id import topic_id_text
from support.batches import dense
from support.unanswered import Unanswered, producer_over

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


class Told:
    """Instead of a producer: who was given to it."""

    def __init__(self, node: int, number: int) -> None:
        self.at = node, number
        self.copies: list[PartitionCopy] = []
        self.pause_s = 0.0
        self.is_idle = False

    def ready(self, copy: PartitionCopy) -> None:
        self.copies.append(copy)


class Chosen:
    """Which pipelines are chosen, of producers that send nothing."""

    def __init__(self) -> None:
        self.begun: list[Told] = []
        self.pipelines = Pipelines(self._begin)

    def _begin(self, node: int, number: int) -> Any:
        self.begun.append(Told(node, number))
        return self.begun[-1]

    def __call__(self, *copies: PartitionCopy) -> list[int]:
        for copy in copies:
            self.pipelines.send_on(copy)
            (told,) = [told for told in self.begun if told.copies]
            assert told.at == (copy.node, copy.pipeline)
            assert told.copies.pop() is copy
        return [copy.pipeline for copy in copies]


def test_partitions_of_large_batches_are_shared_out_for_each_broker() -> None:
    chosen = Chosen()
    several = [a_copy(p, node) for node in (4, 5) for p in range(4)]
    assert chosen(*several) == [0, 1, 0, 1] * 2
    assert chosen(*reversed(several)) == [1, 0, 1, 0] * 2, "each keeps its own"


def test_small_batches_take_the_first_and_large_ones_go_back_to_theirs() -> None:
    chosen = Chosen()
    first, second, third = (a_copy(p) for p in range(3))
    assert chosen(first, second) == [0, 1]
    second.piped = False
    assert chosen(second) == [1], "one large batch that found no pipe"
    second.small = True
    assert chosen(second) == [0]
    assert chosen(third) == [0]
    second.piped, second.small = True, False
    assert chosen(second) == [1]


def test_a_far_destination_has_one() -> None:
    chosen = Chosen()
    first, second = a_copy(0), a_copy(1)
    assert chosen(first, second) == [0, 1]
    second.piped, second.far = False, True
    assert chosen(second) == [0]


def test_another_leader_has_pipelines_of_its_own() -> None:
    chosen = Chosen()
    first, second = a_copy(0), a_copy(1)
    assert chosen(first, second) == [0, 1]
    second.closed()
    second.opened(5, 0, ProducerState(0, -1), -1)
    assert chosen(second) == [0]
    second.closed()
    second.opened(5, 0, ProducerState(0, -1), -1)
    assert chosen(second) == [0]


def test_a_partition_stays_while_something_is_on_its_way() -> None:
    chosen = Chosen()
    copy = a_copy(1)
    assert chosen(a_copy(0), copy) == [0, 1]
    copy.appender.send(append(copy, 0))
    copy.piped, copy.small = False, True
    assert chosen(copy) == [1]
    assert copy.next_pipeline == 0
    copy.appender.settle(0, 0, 0.0)
    assert chosen(copy) == [0]


def test_two_pipelines_to_a_broker_are_one_broker() -> None:
    """What waits for the only one is never held back for the others' sake (`SlowBrokers`)."""
    chosen = Chosen()
    assert chosen.pipelines.brokers == 0
    assert chosen(a_copy(0), a_copy(1)) == [0, 1]
    assert chosen.pipelines.brokers == 1
    chosen(a_copy(2, 5))
    assert chosen.pipelines.brokers == 2


def test_there_is_time_while_each_broker_has_enough_to_do_over_one_pipeline() -> None:
    chosen = Chosen()
    assert chosen.pipelines.pause_s() == 0.0
    chosen(a_copy(0), a_copy(1), a_copy(2, 5))
    first, second, other = chosen.begun
    other.pause_s = 0.003
    for times, time in (((0.001, 0.0), 0.001), ((0.0, 0.002), 0.002), ((0.004, 0.004), 0.003), ((0.0, 0.0), 0.0)):
        first.pause_s, second.pause_s = times
        assert chosen.pipelines.pause_s() == time
    first.is_idle = second.is_idle = True
    assert chosen.pipelines.pause_s() == 0.003, "nobody waits for the other broker"
    other.is_idle = True
    assert chosen.pipelines.pause_s() == 0.0


class Running:
    """Real producers over connections that answer when they are told to."""

    def __init__(self) -> None:
        self.connections = [Unanswered() for _ in range(PIPELINES)]
        self.tasks: list[asyncio.Task[None]] = []
        self.producers: list[DestinationProducer] = []
        self.pipelines = Pipelines(self._begin)

    def _begin(self, node: int, number: int) -> DestinationProducer:
        assert number == len(self.producers)
        producer = producer_over(self.connections[number], node, number, on_drained=self.pipelines.send_on)
        self.producers.append(producer)
        return producer

    async def send_on(self, copy: PartitionCopy, base: int, *, piped: bool) -> list[int]:
        """Gives it a batch at `base`; returns how many requests wait for answers then."""
        copy.piped, copy.small = piped, not piped
        append(copy, base)
        self.pipelines.send_on(copy)
        return await self.waiting()

    async def answer(self, number: int, base: int) -> list[int]:
        self.connections[number].answer(base)
        return await self.waiting()

    async def waiting(self) -> list[int]:
        for producer in self.producers[len(self.tasks) :]:
            self.tasks.append(asyncio.create_task(producer.run()))
        for _ in range(20):
            await asyncio.sleep(0)
        return [len(connection.askers) for connection in self.connections]


def test_what_goes_over_another_connection_waits_for_all_answers() -> None:
    async def run() -> None:
        running = Running()
        running.pipelines.send_on(a_copy(0))
        copy = a_copy(1)
        assert await running.send_on(copy, 0, piped=False) == [1, 0]
        assert await running.send_on(copy, 2, piped=False) == [2, 0]
        assert await running.send_on(copy, 4, piped=True) == [2, 0], "it would overtake them"
        assert await running.answer(0, 0) == [1, 0]
        assert await running.answer(0, 2) == [0, 1], "only over the other"
        assert await running.answer(1, 4) == [0, 0]
        assert copy.appender.log_end == 6
        assert copy.drained
        for task in running.tasks:
            task.cancel()

    asyncio.run(run())


def test_a_pipeline_that_was_told_earlier_waits_as_well() -> None:
    async def run() -> None:
        running = Running()
        running.pipelines.send_on(a_copy(0))
        copy = a_copy(1)
        running.pipelines.send_on(copy)
        assert copy.pipeline == 1
        running.producers[1:], second = [], running.producers[1]  # it comes to nothing yet
        assert await running.send_on(copy, 0, piped=False) == [1, 0]
        assert await running.send_on(copy, 2, piped=True) == [1, 0]
        running.producers.append(second)
        assert await running.waiting() == [1, 0]
        assert await running.answer(0, 0) == [0, 1]
        for task in running.tasks:
            task.cancel()

    asyncio.run(run())
