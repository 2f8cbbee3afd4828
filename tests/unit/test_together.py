"""What is asked while a call runs is done by the next one, for all at once."""

import asyncio
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmirror.engine.together import Together
from kmirror.errors import KmirrorError, StateError
from kmirror.model.each import Each


class Calls:
    """Each call waits until the test lets it go on."""

    def __init__(self) -> None:
        self.asked: list[dict[str, int]] = []
        self.begun = asyncio.Event()
        self.go = asyncio.Event()

    async def act(self, asked: Mapping[str, int]) -> Each[int]:
        self.asked.append(dict(asked))
        self.begun.set()
        await self.go.wait()
        return {name: StateError("odd") if what % 2 else what * 10 for name, what in asked.items()}


def test_what_comes_meanwhile_is_done_at_once() -> None:
    async def run() -> None:
        calls = Calls()
        together = Together(calls.act)
        first = asyncio.ensure_future(together.do("a", 2))
        await calls.begun.wait()
        later = [asyncio.ensure_future(together.do(name, what)) for name, what in (("b", 4), ("c", 5), ("a", 6))]
        twice = asyncio.ensure_future(together.do("b", 8))
        await asyncio.sleep(0)
        calls.go.set()

        assert await first == 20
        answers = await asyncio.gather(*later, twice, return_exceptions=True)
        assert [a for a in answers if isinstance(a, int)] == [40, 60, 80]
        assert isinstance(answers[1], StateError)
        assert calls.asked == [{"a": 2}, {"b": 4, "c": 5, "a": 6}, {"b": 8}]
        assert await together.do("z", 2) == 20  # and it begins anew when it was idle

    asyncio.run(run())


def test_a_call_that_fails_fails_all_and_not_the_next() -> None:
    async def run() -> None:
        faults = [StateError("no room"), None]

        async def act(asked: Mapping[str, int]) -> Each[int]:
            fault = faults.pop(0)
            if fault:
                raise fault
            return dict(asked)

        together = Together(act)
        answers = await asyncio.gather(together.do("a", 1), together.do("b", 2), return_exceptions=True)
        assert all(isinstance(a, KmirrorError) for a in answers)
        assert await together.do("a", 3) == 3

    asyncio.run(run())


def test_who_does_not_wait_any_more_hinders_nobody() -> None:
    async def run() -> None:
        calls = Calls()
        together = Together(calls.act)
        gone, other = asyncio.ensure_future(together.do("a", 2)), asyncio.ensure_future(together.do("b", 2))
        await calls.begun.wait()
        gone.cancel()
        calls.go.set()
        assert await other == 20
        with pytest.raises(asyncio.CancelledError):
            await gone

    asyncio.run(run())


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 3)), min_size=1, max_size=30), st.integers(1, 5))
def test_a_call_begins_after_all_have_asked_that_it_is_for(askers: list[tuple[int, int]], most: int) -> None:
    """Askers of a key and a number of turns after which they ask: no answer is older than its question."""
    calls: list[set[int]] = []
    now = 0

    async def act(asked: Mapping[int, int]) -> Mapping[int, int | KmirrorError]:
        assert 0 < len(asked) <= most
        calls.append(set(asked))
        begun = now
        for _ in range(3):
            await asyncio.sleep(0)
        return {key: StateError(str(begun)) if key == 9 else begun for key in asked}

    async def one(together: Together[int, int, int], key: int, turns: int) -> None:
        nonlocal now
        for _ in range(turns):
            await asyncio.sleep(0)
        now += 1
        asked = now
        try:
            begun = await together.do(key, asked)
        except StateError as e:
            assert key == 9
            begun = int(e.message)
        else:
            assert key != 9
        assert begun >= asked

    async def run() -> None:
        together = Together(act, most=most)
        await asyncio.gather(*(one(together, *asker) for asker in askers))

    asyncio.run(run())
    assert sum(map(len, calls)) == len(askers)
    if len({turns for _, turns in askers}) == 1 and len({key for key, _ in askers}) == len(askers):
        assert len(calls) == -(-len(askers) // most), "who asks at one time is asked for in as few calls as can be"
