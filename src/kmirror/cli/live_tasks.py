"""The tasks of a link in the live view: one line of how they stand, and what is wrong with them."""

from kmirror.cli.live_rows import Note
from kmirror.cli.live_text import since
from kmirror.model.status import LinkStatus
from kmirror.model.tasks import TaskState, TaskStatus


def task_line(status: LinkStatus | None, now_ms: int) -> str:
    """`ConsumerOffsetSync 12 s ago, AclSync IN_ERROR`; empty where the link has no task."""
    tasks = status.tasks.values() if status else ()
    return ", ".join(_told(task, now_ms) for task in tasks if task.state is not TaskState.NOT_CONFIGURED)


def _told(task: TaskStatus, now_ms: int) -> str:
    if task.state is not TaskState.ACTIVE:
        return f"{task.name} {task.state}"
    return task.name if task.last_run_ms is None else f"{task.name} {since(now_ms - task.last_run_ms)} ago"


def task_notes(status: LinkStatus | None) -> list[Note]:
    """The first error of each task, and how many more there are."""
    found = []
    for task in status.tasks.values() if status else ():
        if task.errors:
            first, others = task.errors[0], len(task.errors) - 1
            more = f" (and {others} more: `kmirror link task list {status.link}`)" if status and others else ""
            found.append(Note(f"{task.name}: {first.error_code}", first.error_message + more))
    return found
