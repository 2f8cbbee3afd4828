"""Lag in time: what fetches have shown bounds what timestamps say."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmirror.engine.lag import SourceEnds, age_ms

NOW = 1_700_000_000_000
DAY = 86_400_000


@pytest.mark.parametrize(
    ("timestamp", "came", "expected"),
    [
        (NOW - 700, (NOW - 1000, NOW - 100), 700),
        (NOW - DAY, (NOW - 1000, NOW - 100), 1000),  # an old timestamp: it was not there a second ago
        (NOW + DAY, (NOW - 1000, NOW - 100), 100),  # one of tomorrow: it has been there for 100 ms
        (NOW + DAY, (None, NOW - 100), 100),
        (NOW - DAY, (None, NOW - 100), DAY),  # a backlog: nobody knows better
        (1, (None, NOW - 100), 100),  # of 1970, when there was no Kafka
        (-1, (NOW - 1000, NOW - 100), 1000),  # none: as old as it can be
        (None, (NOW - 1000, NOW - 100), 1000),
        (None, (None, NOW - 100), 100),
        (None, (None, None), None),
        (NOW - 700, (None, None), 700),
        (None, (NOW + 5, NOW + 9), 0),  # a clock that was set back
    ],
)
def test_a_timestamp_is_believed_within_what_was_seen(timestamp, came, expected):
    assert age_ms(NOW, timestamp, came) == expected


def test_readings_bracket_each_offset():
    ends = SourceEnds()
    ends.add(90, 100, 5, 0)
    assert ends.came_between(3) == (None, 100)
    assert ends.came_between(5) == (90, None)
    ends.add(100, 600, 5, 0)  # an idle half second
    assert ends.came_between(3) == (None, 100)
    assert ends.came_between(5) == (100, None)
    ends.add(600, 610, 8, 0)
    assert ends.came_between(6) == (100, 610)
    ends.add(610, 700, 9, 8)
    assert ends.came_between(8) == (600, 700)


def test_a_log_that_got_shorter_begins_anew():
    ends = SourceEnds()
    ends.add(90, 100, 50, 0)
    ends.add(100, 110, 40, 0)
    assert ends.came_between(30) == (None, 110)


APPENDS = st.lists(st.tuples(st.integers(0, 50), st.integers(0, 4), st.integers(0, 20)), min_size=1, max_size=120)


@given(APPENDS, st.integers(0, 100))
def test_what_is_said_holds_for_every_record(turns, share):
    """Records come while answers are on their way; however coarse the readings get, each came when they say."""
    ends, came, clock = SourceEnds(), [], 0
    for pause, records, wait in turns:
        asked = clock
        came += [clock + pause] * records
        clock += pause
        ends.add(asked, clock + wait, len(came), len(came) * share // 200)
        clock += wait
    assert len(ends._answers) <= 16
    for offset in range(len(came) * share // 200, len(came)):
        before, after = ends.came_between(offset)
        assert before is None or before <= came[offset]
        assert after is not None
        assert came[offset] <= after
