"""The live view as it is drawn: any width, with and without a terminal, with and without colour."""

import io
import re
from dataclasses import replace

import pytest
from rich.console import Console

from kmirror.cli import live
from kmirror.cli.live import LiveView, watch
from kmirror.cli.live_rows import History
from kmirror.cli.live_tables import link_view, topic_view
from kmirror.model.link import GapFill, Link
from kmirror.model.mirror import Mirror
from kmirror.model.states import MirrorState
from kmirror.model.status import LinkState, LinkStatus, MirrorStatus, PartitionState, PartitionStatus, Trouble

NOW = 1_700_000_000_000
TOPIC = "orders"
LONG_TOPIC = "payments.settled.europe.with-a-name.that-nobody.shortened" * 2


def a_console(width, height=50, **rest):
    return Console(file=io.StringIO(), width=width, height=height, **rest)


def a_link(partitions=3):
    topics = (TOPIC, LONG_TOPIC)
    mirrors = {t: Mirror(t, t, "s", "d", partitions, MirrorState.ACTIVE, NOW) for t in topics}
    return Link("east-west", "id", "E", "W", {}, GapFill.MARKERS, NOW, mirrors)


def a_status(end=12_345_678, partitions=3, state=PartitionState.COPYING, trouble=None):
    parts = [PartitionStatus(n, state, end - n - 1, end + n, 3 * 3_600_000, NOW, trouble) for n in range(partitions)]
    seen = MirrorStatus(TOPIC, MirrorState.SOURCE_UNAVAILABLE, tuple(parts), 123_456_789.0, 1_234_567.0)
    return LinkStatus("east-west", 1, NOW, NOW, LinkState.ACTIVE, mirrors={TOPIC: seen})


def drawn(console, view):
    console.print(view)
    lines = console.file.getvalue().splitlines()
    assert max(map(len, lines)) <= console.width
    return lines


def a_topic_view(console, status, partitions=3):
    return topic_view(console, a_link(partitions), status, topic=TOPIC, history=History(), now_ms=NOW)


@pytest.mark.parametrize("width", [80, 120, 200])
@pytest.mark.parametrize("end", [7, 12_345_678, 10**10, 10**12])
def test_no_width_cuts_a_number_of_a_partition(width, end):
    console = a_console(width)
    status = a_status(end, state=PartitionState.DESTINATION_UNAVAILABLE)
    text = "\n".join(drawn(console, a_topic_view(console, status))).replace(",", "")
    for n in range(3):
        row = rf"^ +{n} +DESTINATION( UNAVAILABLE)? +{end + n} +{end - n - 1} +{2 * n + 1} +3 h 0 min +-"
        assert re.search(row, text, re.MULTILINE), text
    assert "…" not in text


@pytest.mark.parametrize("width", [80, 200])
def test_no_width_cuts_a_number_or_a_name_of_a_mirror(width):
    console = a_console(width)
    lines = drawn(console, link_view(console, a_link(), a_status(10**9), history=History(), now_ms=NOW))
    text = "\n".join(lines)
    assert re.search(r"^orders +SOURCE( UNAVAILABLE)? +3 +9 +3 h 0 min +1,234,567/s", text, re.MULTILINE), text
    assert "123.5 MB/s" in text
    name = "".join(line.split()[0] for line in lines if line and line.split()[0] in LONG_TOPIC)
    assert name == LONG_TOPIC
    assert "…" not in text


def test_thousands_are_grouped_where_there_is_room():
    console = a_console(200)
    assert any("12,345,678" in line for line in drawn(console, a_topic_view(console, a_status())))


def test_a_number_that_has_no_room_goes_on_in_the_next_line():
    console = a_console(40)
    end = 9_223_372_036_854_775_000
    table = drawn(console, a_topic_view(console, a_status(end, partitions=1), partitions=1))[4:]
    digits = "".join(re.findall(r"\d", "".join(table)))
    assert len(digits) == len("0") + len(str(end)) + len(str(end - 1)) + len("1") + len("30")
    assert "…" not in "".join(table)


def test_what_has_no_room_on_the_screen_is_counted():
    console = a_console(80, height=20)
    lines = drawn(console, a_topic_view(console, a_status(partitions=100), partitions=100))
    assert len(lines) < 20
    assert lines[-1].startswith("86 more partitions, lag at most 17")


def test_trouble_stands_below_the_table():
    console = a_console(80)
    lines = drawn(console, a_topic_view(console, a_status(trouble=Trouble("connection refused", NOW - 12_000))))
    assert lines[-1].startswith("! orders partitions 0-2: COPYING for 12 s: connection refused")


def test_a_terminal_is_redrawn_in_place_and_its_cursor_comes_back():
    console = a_console(80, force_terminal=True, color_system="standard", no_color=False)
    with LiveView(console, topic=TOPIC) as view:
        view.update(a_link(), a_status())
        view.update(a_link(), replace(a_status(), updated_ms=NOW + 1))
    text = console.file.getvalue()
    assert "\x1b[?25l" in text
    assert text.rstrip().endswith("\x1b[?25h")
    assert "\x1b[2K" in text
    assert "\x1b[33mSOURCE UNAVAILABLE" in text


def test_no_color_is_honoured(monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    console = a_console(80, force_terminal=True)
    with LiveView(console, topic=TOPIC) as view:
        view.update(a_link(), a_status())
    assert not re.search(r"\x1b\[[0-9;]*3[0-7]m", console.file.getvalue())


@pytest.mark.parametrize("rest", [{"force_terminal": False}, {"force_terminal": True, "_environ": {"TERM": "dumb"}}])
def test_without_a_terminal_there_are_lines_and_nothing_else(rest):
    console = a_console(80, **rest)
    with LiveView(console, title="orders is on its way", topic=TOPIC) as view:
        for _ in range(5):
            view.update(a_link(), a_status())
    lines = console.file.getvalue().splitlines()
    assert len(lines) == 3  # title, state, and the note that the runner of long ago is silent
    assert "orders: SOURCE_UNAVAILABLE, lag 9 records (3 h 0 min), 1,234,567/s, 123.5 MB/s" in lines[1]
    assert "\x1b" not in console.file.getvalue()


def test_watch_ends_quietly_with_ctrl_c_and_loudly_with_an_error(monkeypatch):
    console = a_console(80, force_terminal=True)
    monkeypatch.setattr(live, "Console", lambda: console)
    asked = []

    def source():
        asked.append(1)
        if len(asked) == 3:
            raise KeyboardInterrupt
        return a_link(), a_status()

    watch(source, TOPIC, interval=0)
    assert len(asked) == 3
    assert console.file.getvalue().endswith("\x1b[?25h")

    def broken():
        raise ValueError("no such link")

    with pytest.raises(ValueError, match="no such link"):
        watch(broken, None, interval=0)
