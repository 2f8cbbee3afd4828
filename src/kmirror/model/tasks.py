"""The tasks of a link beside the copying: how they stand. Names and codes are Cluster Linking's where it has them.

Times are milliseconds since the epoch; None: never.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class TaskState(StrEnum):
    """Cluster Linking's; UNKNOWN while no runner tells."""

    UNKNOWN = "UNKNOWN"
    ACTIVE = "ACTIVE"
    IN_ERROR = "IN_ERROR"
    NOT_CONFIGURED = "NOT_CONFIGURED"
    LINK_UNAVAILABLE = "LINK_UNAVAILABLE"
    LINK_PAUSED = "LINK_PAUSED"


@dataclass(frozen=True, slots=True)
class TaskError:
    error_code: str
    error_message: str


@dataclass(frozen=True, slots=True)
class TaskStatus:
    """`changes` were made at the destination since the runner started; `counts` is what the last run says of itself."""

    name: str
    state: TaskState
    errors: tuple[TaskError, ...] = ()
    period_ms: int | None = None
    last_run_ms: int | None = None
    last_success_ms: int | None = None
    runs: int = 0
    failures: int = 0
    changes: int = 0
    counts: Mapping[str, int] = field(default_factory=dict)


def task_status_from(data: Mapping[str, Any]) -> TaskStatus:
    """The inverse of dataclasses.asdict; raises KeyError, TypeError or ValueError where it does not fit."""
    rest = {k: v for k, v in data.items() if k not in {"state", "errors"}}
    return TaskStatus(**rest, state=TaskState(data["state"]), errors=tuple(TaskError(**e) for e in data["errors"]))
