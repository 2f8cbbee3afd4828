"""There is time where the destination has all requests that it may have, and more wait; else there is none."""

import asyncio

from kmirror.engine.budget import Budget
from kmirror.engine.copy import PartitionCopy
from kmirror.engine.steps import Append
from kmirror.engine.window import MOST_REQUESTS
from kmirror.model.mirror import Mirror
from kmirror.model.states import MirrorState
from kmirror.wire.producer_state import ProducerState
from kmirror.wire.topic_id import topic_id_text
from support.batches import dense
from support.unanswered import Unanswered, producer_over

NODE, BATCHES = 4, MOST_REQUESTS + 2
ID = topic_id_text(bytes(range(16)))


def a_copy(budget: Budget) -> PartitionCopy:
    copy = PartitionCopy(Mirror("t", "s", ID, ID, 3, MirrorState.ACTIVE, 1), 1, budget)
    copy.opened(NODE, 0, ProducerState(0, -1), -1)
    for base in range(0, 2 * BATCHES, 2):
        step = Append(base, 2, memoryview(bytearray(dense(base, 2))), 1000, 1000)
        budget.adjust(0, step.size)
        copy.enqueue(step)
    return copy


def pauses(round_trip_s: float) -> list[bool]:
    """Whether there is time: before anything is sent, then with all that may be under way, and after each answer."""
    connection = Unanswered()

    async def run() -> list[bool]:
        budget = Budget(1 << 20)
        producer = producer_over(connection, NODE, budget=budget, round_trip_s=round_trip_s)
        found = [producer.pause_s > 0]
        assert producer.is_idle
        producer.ready(a_copy(budget))
        running = asyncio.create_task(producer.run())
        for _ in range(2 * MOST_REQUESTS):
            await asyncio.sleep(0)
        assert len(connection.askers) == MOST_REQUESTS
        found.append(producer.pause_s > 0)
        for number in range(BATCHES):
            assert not producer.is_idle
            connection.answer(2 * number)
            assert producer.pause_s <= 0.002
            found.append(producer.pause_s > 0)
        assert producer.is_idle
        assert budget.held == 0
        running.cancel()
        return found

    return asyncio.run(run())


def test_there_is_time_while_the_broker_has_all_it_may_have() -> None:
    first, sent, *answered = pauses(0.0002)
    assert not first
    assert not sent, "how long an answer takes is not known yet"
    assert answered == [True] + [False] * (BATCHES - 1), "then nothing waits behind what is under way"


def test_a_broker_that_is_far_waits_for_us() -> None:
    assert not any(pauses(0.002))
