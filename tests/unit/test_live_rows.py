"""The live view's rows and words: what is said of a status, apart from any terminal."""

from dataclasses import replace

import pytest

from kmirror.cli.live_plain import EVERY_MS, PlainLines
from kmirror.cli.live_rows import History, PartitionRow, link_notes, mirror_rows, notes, partition_rows, worst
from kmirror.cli.live_text import count, duration, ranges, rate, since, sparkline, throughput
from kmirror.model.link import GapFill, Link
from kmirror.model.mirror import Mirror, MirrorError
from kmirror.model.states import MirrorState
from kmirror.model.status import LinkState, LinkStatus, MirrorStatus, PartitionState, PartitionStatus, Trouble

NOW = 1_700_000_000_000


def a_mirror(topic="orders", partitions=2, state=MirrorState.ACTIVE, **rest):
    return Mirror(topic, topic, "source-id", "destination-id", partitions, state, NOW, **rest)


def a_link(*mirrors):
    return Link("east-west", "id", "E", "W", {}, GapFill.MARKERS, NOW, {m.topic: m for m in mirrors or [a_mirror()]})


def a_partition(number, log_end=100, source_end=150, state=PartitionState.COPYING, **rest):
    return PartitionStatus(number, state, log_end, source_end, **{"lag_ms": 1000, **rest})


def a_status(*partitions, topic="orders", state=MirrorState.ACTIVE, at=NOW, **rest):
    seen = MirrorStatus(topic, state, partitions, bytes_per_s=2e6, records_per_s=1000.0)
    return LinkStatus("east-west", 1, NOW, at, LinkState.ACTIVE, mirrors={topic: seen}, **rest)


@pytest.mark.parametrize(
    ("ms", "words"),
    [
        (None, "-"),
        (-5, "0 s"),
        (0, "0 s"),
        (350, "350 ms"),
        (999, "999 ms"),
        (4_250, "4.2 s"),
        (59_999, "59.9 s"),
        (60_000, "1 min 0 s"),
        (192_000, "3 min 12 s"),
        (7_500_000, "2 h 5 min"),
        (3 * 86_400_000 + 4 * 3_600_000, "3 d 4 h"),
    ],
)
def test_a_duration_is_said_in_at_most_two_units(ms, words):
    assert duration(ms) == words


def test_numbers_and_rates():
    assert count(1234567) == "1,234,567"
    assert count(1234567, grouped=False) == "1234567"
    assert count(None) == "-"
    assert (rate(None), rate(0), rate(0.33), rate(12345.6)) == ("-", "0/s", "0.3/s", "12,346/s")
    assert [throughput(r) for r in (0, 8_400, 1_250_000, 3e9)] == ["0.0 MB/s", "8.4 kB/s", "1.2 MB/s", "3,000.0 MB/s"]
    assert (since(12_999), since(61_000)) == ("12 s", "1 min 1 s")


def test_a_sparkline_shows_zero_as_zero_and_the_highest_as_full():
    assert sparkline([0, 1, 100], 5) == "  ▁▂█"
    assert sparkline([0, 0], 2) == "▁▁"
    assert sparkline([], 3) == "   "
    assert sparkline([9, 1, 2, 3], 2) == "▆█"
    assert sparkline([0, 100], 2, ascii_only=True) == "_#"


def test_ranges():
    assert ranges([7, 1, 0, 2]) == "0-2, 7"
    assert ranges([5]) == "5"


def test_every_partition_has_a_row_also_before_a_runner_tells():
    rows = partition_rows(a_mirror(partitions=3), None, History())
    assert rows == [PartitionRow(n, None, None, None, None, None, None) for n in range(3)]


def test_a_row_says_what_the_status_says():
    status = a_status(a_partition(0), a_partition(1, log_end=150))
    rows = partition_rows(a_mirror(), status, History())
    assert [(r.partition, r.source_end, r.log_end, r.lag) for r in rows] == [(0, 150, 100, 50), (1, 150, 150, 0)]


def test_the_rate_of_a_partition_is_how_far_its_log_end_went():
    history = History()
    history.add(a_status(a_partition(0, log_end=100), at=NOW))
    assert history.partition_rate("orders", 0) is None
    history.add(a_status(a_partition(0, log_end=300), at=NOW + 1000))
    history.add(a_status(a_partition(0, log_end=300), at=NOW + 1000))  # the same status, asked for twice
    history.add(a_status(a_partition(0, log_end=700), at=NOW + 3000))
    assert history.partition_rate("orders", 0) == 200
    history.add(a_status(a_partition(0, log_end=700), at=NOW + 60_000))
    assert history.partition_rate("orders", 0) == 0


def test_the_lag_of_a_mirror_is_the_sum_and_not_known_while_one_is_not():
    link = a_link()
    (row,) = mirror_rows(link, a_status(a_partition(0), a_partition(1, lag_ms=7000)), History())
    assert (row.lag, row.lag_ms) == (100, 7000)
    (row,) = mirror_rows(link, a_status(a_partition(0), a_partition(1, source_end=None)), History())
    assert row.lag is None


@pytest.mark.parametrize(
    ("recorded", "seen", "shown"),
    [
        (MirrorState.ACTIVE, MirrorState.SOURCE_UNAVAILABLE, MirrorState.SOURCE_UNAVAILABLE),
        (MirrorState.PAUSED, MirrorState.ACTIVE, MirrorState.PAUSED),
        (MirrorState.FAILED, MirrorState.ACTIVE, MirrorState.FAILED),
        (MirrorState.PENDING_STOPPED, MirrorState.PENDING_STOPPED, MirrorState.PENDING_STOPPED),
    ],
)
def test_a_status_of_a_second_ago_does_not_hide_what_was_decided_since(recorded, seen, shown):
    (row,) = mirror_rows(a_link(a_mirror(state=recorded)), a_status(a_partition(0), state=seen), History())
    assert row.state is shown


def test_with_little_room_troubled_and_late_partitions_are_shown():
    rows = [PartitionRow(n, PartitionState.COPYING, 0, 0, n, 0, 0.0) for n in range(10)]
    rows[1] = replace(rows[1], state=PartitionState.DESTINATION_UNAVAILABLE)
    assert [r.partition for r in worst(rows, 3)] == [1, 8, 9]
    assert [r.partition for r in worst(rows, -1)] == [1]
    assert worst(rows, 10) == rows


def test_partitions_with_one_cause_share_a_note_that_says_since_when():
    down = {"state": PartitionState.SOURCE_UNAVAILABLE, "trouble": Trouble("connection refused", NOW - 12_000)}
    status = a_status(a_partition(0, **down), a_partition(1), a_partition(2, **down), a_partition(3, **down))
    (note,) = notes(a_mirror(), status)
    assert note.text(NOW) == "orders partitions 0, 2-3: SOURCE_UNAVAILABLE for 12 s: connection refused"


def test_a_failure_names_its_place_once():
    error = MirrorError("RECORD_TOO_LARGE", "the batch has 2 MB", partition=3, offset=77)
    status = a_status(a_partition(3, state=PartitionState.FAILED, error=error))
    expected = ["orders partition 3 offset 77: RECORD_TOO_LARGE: the batch has 2 MB"]
    assert [n.text(NOW) for n in notes(a_mirror(), status)] == expected
    assert [n.text(NOW) for n in notes(a_mirror(state=MirrorState.FAILED, error=error), status)] == expected


def test_a_link_without_a_runner_and_one_that_went_silent_say_so():
    assert [n.text(NOW) for n in link_notes(a_link(), None, NOW)] == [
        "no runner copies: start one with `kmirror link start east-west`"
    ]
    assert link_notes(a_link(a_mirror(state=MirrorState.STOPPED)), None, NOW) == []
    (silent,) = link_notes(a_link(), a_status(at=NOW - 9000), NOW)
    assert silent.text(NOW) == "no word from the runner for 9 s: process 1"
    assert link_notes(a_link(), a_status(), NOW) == []
    (trouble,) = link_notes(a_link(), a_status(trouble=Trouble("no route", NOW - 3000)), NOW)
    assert trouble.text(NOW) == "link east-west: ACTIVE for 3 s: no route"


def said(plain, link, status, at):
    return [line.partition(" ")[2] for line in plain.lines(link, status, at)]


def test_plain_lines_come_on_a_change_and_every_few_seconds_while_data_flows():
    plain, link = PlainLines(), a_link()
    first = "orders: ACTIVE, lag 50 records (1.0 s), 1,000/s, 2.0 MB/s"
    assert said(plain, link, a_status(a_partition(0)), NOW) == [first]
    moved = a_status(a_partition(0, log_end=140))
    assert said(plain, link, moved, NOW + 100) == []
    assert said(plain, link, moved, NOW + EVERY_MS) == [first.replace("50", "10")]
    assert said(plain, link, replace(moved, updated_ms=NOW + 9 * EVERY_MS), NOW + 9 * EVERY_MS) == []
    paused = a_link(a_mirror(state=MirrorState.PAUSED))
    assert said(plain, paused, moved, NOW + EVERY_MS + 1)[0].startswith("orders: PAUSED, lag 10")


def test_plain_lines_say_a_trouble_once_and_when_it_is_over():
    plain, link = PlainLines("orders"), a_link()
    trouble = Trouble("connection refused", NOW)
    down = a_status(a_partition(0, state=PartitionState.SOURCE_UNAVAILABLE, trouble=trouble))
    new = "orders partition 0: SOURCE_UNAVAILABLE for 0 s: connection refused"
    assert new in said(plain, link, down, NOW)
    assert said(plain, link, down, NOW + 1000) == []
    over = "over: orders partition 0: SOURCE_UNAVAILABLE: connection refused"
    assert over in said(plain, link, a_status(a_partition(0)), NOW + 2000)


def test_plain_lines_of_one_topic_leave_out_the_others():
    plain = PlainLines("orders")
    lines = said(plain, a_link(a_mirror(), a_mirror("payments")), None, NOW)
    assert lines == ["orders: ACTIVE", "no runner copies: start one with `kmirror link start east-west`"]
