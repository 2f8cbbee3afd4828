"""The event loop rests only when there is nothing to do, and nothing hurries."""

import asyncio
import socket
from collections.abc import Iterator

import pytest

from kmirror.process import paced_loop
from kmirror.process.paced_loop import PacedSelector, run_paced


@pytest.fixture
def rests(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """For how long it has rested."""
    found: list[float] = []
    monkeypatch.setattr(paced_loop.time, "sleep", found.append)
    return found


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def test_it_rests_once_and_then_waits(rests: list[float], pair: tuple[socket.socket, socket.socket]) -> None:
    with PacedSelector() as selector:
        selector.register(pair[0], 1)
        selector.pause_s = lambda: 0.001
        assert selector.select(0.01) == []
        assert rests == [0.001]


def test_what_is_there_is_given_at_once(rests: list[float], pair: tuple[socket.socket, socket.socket]) -> None:
    with PacedSelector() as selector:
        key = selector.register(pair[0], 1)
        selector.pause_s = lambda: 0.001
        pair[1].send(b"x")
        assert selector.select(5) == [(key, 1)]
        assert rests == []


def test_what_comes_while_it_rests_is_given(
    monkeypatch: pytest.MonkeyPatch, pair: tuple[socket.socket, socket.socket]
) -> None:
    monkeypatch.setattr(paced_loop.time, "sleep", lambda _: pair[1].send(b"x"))
    with PacedSelector() as selector:
        key = selector.register(pair[0], 1)
        selector.pause_s = lambda: 0.001
        assert selector.select(5) == [(key, 1)]


@pytest.mark.parametrize("pause_s", [0.0, 0.001])
def test_it_does_not_rest_when_something_hurries_or_is_to_be_done(rests: list[float], pause_s: float) -> None:
    """With timeout 0 asyncio asks while it has something to do itself."""
    with PacedSelector() as selector:
        selector.pause_s = lambda: pause_s
        assert selector.select(0 if pause_s else 0.001) == []
        assert rests == []


def test_a_loop_over_it_runs_as_any(rests: list[float]) -> None:
    async def main(selector: PacedSelector) -> str:
        selector.pause_s = lambda: 0.5
        loop = asyncio.get_running_loop()
        await asyncio.sleep(0.001)
        return await loop.run_in_executor(None, lambda: "done")

    assert run_paced(main) == "done"
    assert 0.5 in rests
