"""All tasks that a link can have. A new one gets a line here."""

from kmirror.tasks.task import Task


def all_tasks() -> list[Task]:
    """New instances, for one link."""
    return []
