"""How a mirror stands, told again and again: the same while nothing happens, at once what does."""

from collections.abc import Callable

import pytest

from kmirror.engine import mirror_copy as module
from kmirror.engine.budget import Budget
from kmirror.engine.mirror_copy import MirrorCopy
from kmirror.errors import ClusterError
from kmirror.model.mirror import Mirror, MirrorError
from kmirror.model.states import MirrorState
from kmirror.model.status import PartitionState, Trouble
from kmirror.wire.producer_state import ProducerState
from kmirror.wire.topic_id import topic_id_text

TOPIC_ID = topic_id_text(bytes(range(16)))


@pytest.fixture
def mirror(clock: list[float]) -> MirrorCopy:
    """Two partitions, all of which is copied."""
    made = MirrorCopy(Mirror("t", "s", TOPIC_ID, TOPIC_ID, 2, MirrorState.ACTIVE, 1), Budget(1 << 20))
    made.running = True
    for copy in made.partitions.values():
        copy.opened(1, 5, ProducerState(0, 4), -1)
        copy.source_seen(5)
    return made


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])  # type: ignore[attr-defined]
    monkeypatch.setattr(module.time, "time_ns", lambda: 1_000_000_000_000)  # type: ignore[attr-defined]
    return now


def test_the_same_is_told_for_some_seconds(mirror: MirrorCopy, clock: list[float]) -> None:
    first = mirror.status_of_late(None)
    assert first == mirror.status(None)
    clock[0] += 19
    assert mirror.status_of_late(None) is first
    clock[0] += 2
    again = mirror.status_of_late(None)
    assert again is not first
    assert again == mirror.status(None)


def _more_at_the_source(mirror: MirrorCopy) -> None:
    mirror.partitions[1].source_seen(7)


def _more_is_copied(mirror: MirrorCopy) -> None:
    mirror.partitions[0].source_seen(8)
    mirror.partitions[0].appender.filled_by_another(8)


def _closed(mirror: MirrorCopy) -> None:
    mirror.partitions[1].closed()


def _paused(mirror: MirrorCopy) -> None:
    mirror.mirror = Mirror("t", "s", TOPIC_ID, TOPIC_ID, 2, MirrorState.PAUSED, 1)


def _failed(mirror: MirrorCopy) -> None:
    mirror.error = MirrorError("FOREIGN_WRITER", "somebody else", 1, 5)


def _can_not_grow(mirror: MirrorCopy) -> None:
    mirror.trouble = Trouble("no", 1)


def _grown(mirror: MirrorCopy) -> None:
    mirror.update(Mirror("t", "s", TOPIC_ID, TOPIC_ID, 3, MirrorState.ACTIVE, 1))


@pytest.mark.parametrize(
    "happens", [_more_at_the_source, _more_is_copied, _closed, _paused, _failed, _can_not_grow, _grown]
)
def test_what_happens_is_told_at_once(
    mirror: MirrorCopy, clock: list[float], happens: Callable[[MirrorCopy], None]
) -> None:
    before = mirror.status_of_late(None)
    happens(mirror)
    clock[0] += 1
    assert mirror.status_of_late(None) == mirror.status(None) != before


@pytest.mark.parametrize("at_source", [False, True])
def test_a_trouble_is_told_once_it_lasts(mirror: MirrorCopy, clock: list[float], *, at_source: bool) -> None:
    """It begins to be shown by time alone."""
    mirror.status_of_late(None)
    mirror.partitions[0].in_trouble(ClusterError("away"), at_source=at_source)
    assert mirror.status_of_late(None).partitions[0].trouble is None
    for trouble in (mirror.partitions[0].source_trouble, mirror.partitions[0].destination_trouble):
        if trouble:
            object.__setattr__(trouble, "since_ms", 0)
    assert mirror.status_of_late(None).partitions[0].trouble is not None


def test_a_destination_that_is_away_is_told_at_once(mirror: MirrorCopy, clock: list[float]) -> None:
    mirror.status_of_late(None)
    away = mirror.status_of_late(Trouble("away", 1))
    assert {p.state for p in away.partitions} == {PartitionState.DESTINATION_UNAVAILABLE}
    assert mirror.status_of_late(None).state is MirrorState.ACTIVE


def test_a_rate_falls_to_nothing(mirror: MirrorCopy, clock: list[float]) -> None:
    for at, copied in ((0, 0), (1, 1_000)):
        clock[0] = 100.0 + at
        mirror.counters.bytes = copied
        mirror.sample()
    assert mirror.status_of_late(None).bytes_per_s == 1_000
    for at in (8, 16):
        clock[0] = 100.0 + at
        mirror.sample()
    assert mirror.status_of_late(None).bytes_per_s == 0
