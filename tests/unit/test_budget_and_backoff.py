"""The byte budget lets nobody starve or overrun; waiting between tries doubles, is capped and jittered."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from kmirror.engine.backoff import Backoff, wait_for_event
from kmirror.engine.budget import Budget


@given(st.lists(st.integers(1, 150), min_size=1, max_size=20), st.integers(1, 4))
def test_never_more_than_the_limit_but_for_one_alone(sizes: list[int], workers: int) -> None:
    async def run() -> None:
        budget = Budget(100)
        waiting = list(sizes)
        holders: list[int] = []

        async def work() -> None:
            while waiting:
                size = waiting.pop()
                await budget.acquire(size)
                holders.append(size)
                assert budget.held == sum(holders)
                assert budget.held <= 100 or len(holders) == 1
                await asyncio.sleep(0)
                holders.remove(size)
                budget.release(size)

        async with asyncio.timeout(10):
            await asyncio.gather(*[work() for _ in range(workers)])
        assert budget.held == 0

    asyncio.run(run())


def test_a_reservation_becomes_what_came_and_wakes_who_waits() -> None:
    async def run() -> None:
        budget = Budget(100)
        await budget.acquire(90)
        waiter = asyncio.create_task(budget.acquire(50))
        cancelled = asyncio.create_task(budget.acquire(50))
        await asyncio.sleep(0)
        assert not waiter.done()
        cancelled.cancel()
        budget.adjust(90, 40)
        await asyncio.wait_for(waiter, 5)
        assert budget.held == 90

    asyncio.run(run())


def test_waits_double_up_to_the_most_and_begin_anew() -> None:
    backoff = Backoff(0.1, 1.0)
    for _ in range(3):
        for most in (0.1, 0.2, 0.4, 0.8, 1.0, 1.0, 1.0):
            assert most / 2 <= backoff.next() <= most
        backoff.reset()


def test_waits_differ() -> None:
    assert len({Backoff().next() for _ in range(10)}) > 1


def test_wait_for_event() -> None:
    async def run() -> None:
        event = asyncio.Event()
        assert not await wait_for_event(event, 0.01)
        asyncio.get_running_loop().call_later(0.01, event.set)
        assert await wait_for_event(event, 10)

    asyncio.run(run())
