"""The link's own limit: exact over some seconds, whatever sizes fetches bring and however long they take."""

import asyncio
import struct
from collections.abc import Sequence
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmirror.engine import brake as module
from kmirror.engine.brake import Brake
from kmirror.engine.counters import RunCounters
from kmirror.model.settings import UNLIMITED
from kmirror.wire.fetch import Fetched

RATE = 1_000_000
FETCH = 8 << 20


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=made.monotonic))
    monkeypatch.setattr(module, "asyncio", SimpleNamespace(sleep=made.sleep))
    return made


def batches(*sizes: int) -> memoryview:
    """Of these sizes, with a head that says so and nothing else."""
    return memoryview(b"".join(struct.pack(">qi", 0, size - 12) + bytes(size - 12) for size in sizes))


def fetched(records: memoryview) -> Fetched:
    return Fetched("orders", 0, 0, 0, 0, 0, (), records, None, -1)


def copied(brake: Brake, clock: Clock, batch: int, round_trip_s: float, seconds: float) -> list[tuple[float, int]]:
    """(when, how many bytes) of the fetches of one source that always has more, in batches of one size."""
    out: list[tuple[float, int]] = []

    async def fetch() -> None:
        began = clock.now
        while clock.now < began + seconds:
            room = await brake.room(FETCH)
            clock.now += round_trip_s
            whole = max(1, room // batch)
            brake.took(fetched(batches(*[batch] * whole)))
            out.append((clock.now, whole * batch))

    asyncio.run(fetch())
    return out


@given(batch=st.sampled_from([100, 5_000, 131_072, 1_000_000]), round_trip_ms=st.integers(0, 300))
def test_the_limit_holds_over_some_seconds(batch: int, round_trip_ms: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        clock = Clock()
        patch.setattr(module, "time", SimpleNamespace(monotonic=clock.monotonic))
        patch.setattr(module, "asyncio", SimpleNamespace(sleep=clock.sleep))
        brake = Brake(RATE, RunCounters())
        fetches = copied(brake, clock, batch, round_trip_ms / 1000, 30)
    elapsed = fetches[-1][0] - 1000.0
    total = sum(size for _, size in fetches)
    assert 0.9 * RATE * elapsed - batch <= total <= RATE * elapsed + batch
    assert max(_in_a_second(fetches)) <= 1.5 * RATE + batch


def _in_a_second(fetches: Sequence[tuple[float, int]]) -> list[int]:
    return [
        sum(size for at, size in fetches if start <= at < start + 1)
        for start, _ in fetches[:: max(1, len(fetches) // 50)]
    ]


def test_what_is_cut_off_does_not_count(clock: Clock) -> None:
    brake = Brake(RATE, RunCounters())
    assert asyncio.run(brake.room(FETCH)) == pytest.approx(RATE // 20, rel=0.05)
    brake.took(fetched(memoryview(bytes(batches(RATE // 20, RATE))[: RATE // 10])))
    before = clock.now
    asyncio.run(brake.room(FETCH))
    assert clock.now - before == pytest.approx(0.05, abs=0.003)


def test_a_change_forgets_what_was_owed_and_without_a_limit_nothing_waits(clock: Clock) -> None:
    counters = RunCounters()
    brake = Brake(1_000, counters)
    brake.took(fetched(batches(1_000_000)))
    brake.set_rate(RATE)
    before = clock.now
    asyncio.run(brake.room(FETCH))
    assert clock.now - before == pytest.approx(0.05, abs=0.003)
    assert counters.braked_s == pytest.approx(0.05, abs=0.003)
    brake.set_rate(UNLIMITED)
    assert asyncio.run(brake.room(FETCH)) == FETCH
    assert clock.now - before == pytest.approx(0.05, abs=0.003)
