"""`link task list`: how the tasks of a link stand. Field names are Cluster Linking's JSON keys, ours follow them."""

from collections.abc import Mapping
from dataclasses import dataclass

from kmirror.model.link import Link
from kmirror.model.tasks import TaskError, TaskState, TaskStatus
from kmirror.ops.seen import Seen, see
from kmirror.state.links import LinkStore
from kmirror.state.paths import Home
from kmirror.tasks import growth
from kmirror.tasks.registry import all_tasks


@dataclass(frozen=True, slots=True)
class TaskRow:
    """Times are ms since the epoch, None: never. `changes` since the runner started."""

    task_name: str
    state: str
    errors: tuple[TaskError, ...]
    period_ms: int | None
    last_run_ms: int | None
    last_success_ms: int | None
    runs: int
    failures: int
    changes: int
    counts: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class TaskList:
    """`at_ms` is now. `told`: a runner that works stands behind it; else states are what the link is configured for."""

    rows: tuple[TaskRow, ...]
    at_ms: int
    told: bool


def list_tasks(home: Home, name: str) -> TaskList:
    """Raises NotFound."""
    seen = see(home, LinkStore(home).get(name))
    rows = tuple(_row(seen, task, period_s) for task, period_s in _periods(seen.link))
    return TaskList(rows, seen.at_ms, told=seen.fresh is not None)


def _periods(link: Link) -> list[tuple[str, float | None]]:
    found = {task.name: task.period_s(link.configs) for task in all_tasks()}
    return sorted({**found, growth.NAME: growth.period_s(link.configs)}.items())


def _row(seen: Seen, name: str, period_s: float | None) -> TaskRow:
    last = (seen.status.tasks.get(name) if seen.status else None) or TaskStatus(name, TaskState.UNKNOWN)
    if seen.fresh:
        state = last.state
    else:  # nobody works at it: what the link asks for is all that can be said
        state = TaskState.NOT_CONFIGURED if period_s is None else TaskState.UNKNOWN
        state = TaskState.LINK_PAUSED if seen.link.paused and period_s is not None else state
    return TaskRow(
        task_name=name,
        state=state,
        errors=last.errors if period_s is not None else (),
        period_ms=None if period_s is None else round(period_s * 1000),
        last_run_ms=last.last_run_ms,
        last_success_ms=last.last_success_ms,
        runs=last.runs,
        failures=last.failures,
        changes=last.changes,
        counts=last.counts,
    )
