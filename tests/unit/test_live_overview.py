"""`status --watch`: all links on one screen, their tasks, and what is worst where there is no room for all."""

import io

import pytest
from rich.console import Console

from kmirror.cli.live import OverviewView
from kmirror.cli.live_rows import History
from kmirror.cli.live_tables import link_view
from kmirror.cli.live_tasks import task_line, task_notes
from kmirror.model.link import GapFill, Link
from kmirror.model.mirror import Mirror
from kmirror.model.states import MirrorState
from kmirror.model.status import LinkState, LinkStatus, MirrorStatus, PartitionState, PartitionStatus, Trouble
from kmirror.model.tasks import TaskError, TaskState, TaskStatus

NOW = 1_700_000_000_000
ERRORS = (TaskError("TOPIC_EXISTS_ERROR", "orders is there already"), TaskError("X", "another"))
TASKS = {
    "AclSync": TaskStatus("AclSync", TaskState.IN_ERROR, errors=ERRORS),
    "ConsumerOffsetSync": TaskStatus("ConsumerOffsetSync", TaskState.ACTIVE, last_run_ms=NOW - 12_000),
    "LogStartSync": TaskStatus("LogStartSync", TaskState.NOT_CONFIGURED),
    "PartitionGrowth": TaskStatus("PartitionGrowth", TaskState.ACTIVE),
}


def a_link(name="east-west", topics=("orders",)):
    mirrors = {t: Mirror(t, t, "s", "d", 1, MirrorState.ACTIVE, NOW) for t in topics}
    return Link(name, "id", "E", "W", {}, GapFill.MARKERS, NOW, mirrors)


def a_status(link, *, tasks=TASKS, behind=None, failed=None, trouble=None):
    parts = {
        t: PartitionStatus(0, PartitionState.COPYING, 100, 100 + (n if behind is None else behind.get(t, 0)), 5, NOW)
        for n, t in enumerate(link.mirrors)
    }
    mirrors = {
        t: MirrorStatus(t, MirrorState.FAILED if t == failed else MirrorState.ACTIVE, (p,), 5e6, 1234.0)
        for t, p in parts.items()
    }
    return LinkStatus(link.name, 7, NOW, NOW, LinkState.ACTIVE, trouble=trouble, mirrors=mirrors, tasks=tasks)


def drawn(width, height, link, status, **options):
    console = Console(file=io.StringIO(), width=width, height=height)
    console.print(link_view(console, link, status, history=History(), now_ms=NOW, **options))
    lines = console.file.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    return lines


def test_tasks_in_a_line_and_their_errors_below():
    status = a_status(a_link())
    assert task_line(status, NOW) == "AclSync IN_ERROR, ConsumerOffsetSync 12 s ago, PartitionGrowth"
    (note,) = task_notes(status)
    assert note.text(NOW) == (
        "AclSync: TOPIC_EXISTS_ERROR: orders is there already (and 1 more: `kmirror link task list east-west`)"
    )
    assert task_line(None, NOW) == ""
    lines = drawn(80, 24, a_link(), status)
    assert "Tasks: AclSync IN_ERROR, ConsumerOffsetSync 12 s ago, PartitionGrowth" in lines
    assert any(line.startswith("! AclSync: TOPIC_EXISTS_ERROR") for line in lines)


@pytest.mark.parametrize("height", [12, 24, 50])
def test_what_is_worst_is_shown_where_there_is_no_room_for_all(height):
    link = a_link(topics=[f"topic-{n:03}" for n in range(100)])
    status = a_status(link, tasks={}, behind={"topic-042": 9000, "topic-007": 4}, failed="topic-099")
    lines = drawn(80, height, link, status)
    assert len(lines) <= height - 1  # the cursor needs one
    shown = [line.split()[0] for line in lines if line.startswith("topic-")]
    assert shown == sorted(shown)
    assert {"topic-042", "topic-099"} <= set(shown)
    assert f"{100 - len(shown)} more mirror topics, lag at most" in "\n".join(lines)


def test_all_links_share_the_screen():
    links = [a_link(name, [f"{name}-{n}" for n in range(40)]) for name in ("east-west", "west-east", "idle")]
    console = Console(file=io.StringIO(), width=80, height=40)
    seen = [(links[0], a_status(links[0])), (links[1], a_status(links[1])), (links[2], None)]
    console.print(OverviewView(console)._picture(seen, NOW))
    text = console.file.getvalue()
    assert text.count("more mirror topics") == 3
    assert "no runner copies: start one with `kmirror link start idle`" in text
    assert text.count("\n") < 40


def test_lines_name_their_link_where_there_is_no_terminal():
    link = a_link()
    console = Console(file=io.StringIO(), width=80, force_terminal=False)
    with OverviewView(console) as view:
        trouble = Trouble("source cluster: connection refused", NOW)
        for _ in range(3):
            view.update([(link, a_status(link, trouble=trouble))])
    lines = console.file.getvalue().splitlines()
    assert all(line[9:].startswith("east-west ") for line in lines)
    assert sum("orders: ACTIVE" in line for line in lines) == 1
    assert sum("connection refused" in line for line in lines) == 1


def test_no_links():
    console = Console(file=io.StringIO(), width=80, force_terminal=True, color_system=None)
    with OverviewView(console) as view:
        view.update([])
    assert "No links: create one with `kmirror link create`." in console.file.getvalue()
