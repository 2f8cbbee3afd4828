"""The table of mirror states, tested whole, and how a mirror moves along it."""

from dataclasses import replace

import pytest

from kmirror.model.mirror import Mirror, MirrorError, StopRequest
from kmirror.model.states import LIVE, RECORDED, TRANSITIONS, Event, MirrorState, after

S = MirrorState
TABLE = """
state                      pause   resume  promote          failover         stopped  failed
ACTIVE                     PAUSED  ACTIVE  PENDING_STOPPED  PENDING_STOPPED  -        FAILED
PAUSED                     PAUSED  ACTIVE  PENDING_STOPPED  PENDING_STOPPED  -        FAILED
PENDING_SYNCHRONIZE        -       ACTIVE  PENDING_STOPPED  PENDING_STOPPED  -        FAILED
PENDING_STOPPED            -       -       PENDING_STOPPED  PENDING_STOPPED  STOPPED  FAILED
STOPPED                    -       -       -                -                -        -
FAILED                     -       -       -                PENDING_STOPPED  -        -
PENDING_MIRROR             -       -       -                PENDING_STOPPED  -        -
PENDING_SETUP_FOR_RESTORE  -       -       -                PENDING_STOPPED  -        -
PENDING_RESTORE            -       -       -                -                -        -
"""
TABLE_OF_SWAPS = """
state                      reverse              start   hold    restore
ACTIVE                     PENDING_SYNCHRONIZE  -       -       -
PENDING_SYNCHRONIZE        PENDING_SYNCHRONIZE  -       -       -
PENDING_MIRROR             -                    ACTIVE  PAUSED  -
PENDING_SETUP_FOR_RESTORE  -                    ACTIVE  -       PENDING_RESTORE
PENDING_RESTORE            -                    ACTIVE  -       -
"""
EXPECTED = {}
for table in (TABLE, TABLE_OF_SWAPS):
    events, *rows = (line.split() for line in table.split("\n") if line)
    EXPECTED |= {(row[0], event): cell for row in rows for event, cell in zip(events[1:], row[1:], strict=True)}


@pytest.mark.parametrize("event", Event)
@pytest.mark.parametrize("state", MirrorState)
def test_every_state_and_event(state: MirrorState, event: Event) -> None:
    cell = EXPECTED.get((state, event), "-")
    assert after(state, event) == (None if cell == "-" else MirrorState(cell))


def test_the_table_speaks_of_recorded_states_alone() -> None:
    assert set(TRANSITIONS) == set(Event)
    assert {s for steps in TRANSITIONS.values() for pair in steps.items() for s in pair} == RECORDED
    assert LIVE < RECORDED


def mirror(state: MirrorState, stop: StopRequest | None = None, error: MirrorError | None = None) -> Mirror:
    return Mirror("t", "s", "sid", "did", 3, state, 100, error, stop, {"retention.ms": "5"})


@pytest.mark.parametrize("event", Event)
@pytest.mark.parametrize("state", MirrorState)
def test_a_mirror_moves_by_the_table_or_not_at_all(state: MirrorState, event: Event) -> None:
    expected = after(state, event)
    before = mirror(state)
    if expected is None:
        with pytest.raises(ValueError, match=f"{state} does not follow {event}"):
            before.moved(event, 200)
        return
    moved = before.moved(event, 200)
    assert moved.state is expected
    assert moved.status_time_ms == (100 if expected is state else 200)
    assert (moved.topic, moved.source_topic, moved.partitions) == ("t", "s", 3)
    assert moved.held_back == before.held_back


def test_targets_stay_while_the_mirror_is_stopping() -> None:
    first = StopRequest(Event.PROMOTE, (5, 6, 7))
    promoted = mirror(S.ACTIVE).moved(Event.PROMOTE, 200, stop=first)
    assert promoted.stop == first
    assert promoted.moved(Event.PROMOTE, 300).stop == first
    failover = StopRequest(Event.FAILOVER)
    assert promoted.moved(Event.FAILOVER, 300, stop=failover).stop == failover
    assert promoted.moved(Event.STOPPED, 300).stop is None
    assert promoted.moved(Event.FAILED, 300).stop is None


def test_a_reversal_is_remembered_through_its_own_steps_alone() -> None:
    draining = replace(mirror(S.ACTIVE).moved(Event.REVERSE, 200), reverse_link="back")
    stopping = draining.moved(Event.PROMOTE, 300, stop=StopRequest(Event.PROMOTE, (1,)))
    assert stopping.moved(Event.STOPPED, 400).reverse_link == "back"
    assert draining.moved(Event.RESUME, 300).reverse_link == ""
    assert draining.moved(Event.FAILED, 300).reverse_link == ""
    assert stopping.moved(Event.FAILOVER, 400, stop=StopRequest(Event.FAILOVER)).reverse_link == ""


def test_an_error_lasts_as_long_as_the_failure() -> None:
    error = MirrorError("CORRUPT_BATCH", "at offset 5", 1, 5)
    failed = mirror(S.ACTIVE).moved(Event.FAILED, 200, error=error)
    assert failed.error == error
    assert failed.moved(Event.FAILOVER, 300, stop=StopRequest(Event.FAILOVER)).error is None
