"""PartitionGrowth: the engine sees new partitions at the source, and has them made; here that is kept to be shown."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from kmirror.engine.copy import now_ms
from kmirror.errors import KmirrorError, with_remedy
from kmirror.model.link import Link
from kmirror.model.settings import seconds_of
from kmirror.model.tasks import TaskError, TaskState, TaskStatus
from kmirror.tasks.task import code_of

NAME: Final = "PartitionGrowth"


def period_s(configs: Mapping[str, str]) -> float:
    """Partition counts come with the metadata."""
    return seconds_of(configs, "metadata.max.age.ms")


class PartitionGrowth:
    def __init__(self) -> None:
        self._errors: dict[str, TaskError] = {}
        self._last_run_ms: int | None = None
        self._last_success_ms: int | None = None
        self._runs = self._failures = self._changes = 0

    @contextmanager
    def growing(self, topic: str) -> Iterator[None]:
        """Around the growing of one mirror: what it raises is told of the task, too."""
        self._last_run_ms = now_ms()
        self._runs += 1
        try:
            yield
        except KmirrorError as e:
            self._failures += 1
            self._errors[topic] = TaskError(code_of(e), with_remedy(e))
            raise
        self._errors.pop(topic, None)
        self._changes += 1
        self._last_success_ms = now_ms()

    def status(self, link: Link) -> TaskStatus:
        errors = tuple(error for topic, error in sorted(self._errors.items()) if topic in link.mirrors)
        state = TaskState.IN_ERROR if errors else TaskState.ACTIVE
        return TaskStatus(
            name=NAME,
            state=TaskState.LINK_PAUSED if link.paused else state,
            errors=errors,
            period_ms=round(period_s(link.configs) * 1000),
            last_run_ms=self._last_run_ms,
            last_success_ms=self._last_success_ms,
            runs=self._runs,
            failures=self._failures,
            changes=self._changes,
        )
