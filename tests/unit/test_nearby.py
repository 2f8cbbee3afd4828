"""Which replica a partition is fetched from, and for which part of the time a link was made to wait."""

from types import SimpleNamespace

import pytest

from kmirror.engine import nearby, throttling
from kmirror.engine.counters import RunCounters
from kmirror.engine.nearby import Nearby
from kmirror.engine.throttling import ThrottleShares
from kmirror.model.status import Throttle


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    made = SimpleNamespace(now=1000.0)
    for module in (nearby, throttling):
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: made.now))
    return made


def test_the_leader_serves_until_it_names_another(clock: SimpleNamespace) -> None:
    copy = Nearby()
    assert (copy.choose(1), copy.choose(None), copy.leave()) == (1, None, False)
    copy.take(2, leader=1)
    assert copy.choose(1) == 2
    clock.now += 301  # it is asked again whether that still holds
    assert copy.choose(1) == 1
    assert not copy.is_avoided


def test_another_leader_is_asked_anew() -> None:
    copy = Nearby()
    copy.take(2, leader=1)
    assert (copy.choose(3), copy.choose(1)) == (3, 1)


def test_a_replica_in_trouble_is_left_and_avoided_for_a_while(clock: SimpleNamespace) -> None:
    copy = Nearby()
    copy.take(2, leader=1)
    assert copy.leave()
    assert (copy.choose(1), copy.is_avoided, copy.leave()) == (1, True, False)
    clock.now += 11
    assert not copy.is_avoided


def test_shares_are_of_the_last_seconds_and_never_more_than_all(clock: SimpleNamespace) -> None:
    counters = RunCounters()
    shares = ThrottleShares(counters)
    assert shares.look() == {}
    for _ in range(4):
        clock.now += 1
        counters.braked_s += 0.5
        counters.cluster("source").throttled_s += 3.0  # of three brokers at a time
        seen = shares.look()
    assert seen == {Throttle.SOURCE_QUOTA: 1.0, Throttle.IO_LIMIT: 0.5}
    for _ in range(7):
        clock.now += 1
        seen = shares.look()
    assert seen == {}
