"""What a task is, and what it is given: a module for each, with a pure part that decides and a thin one that acts."""

import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, ClassVar, Final

from kmirror.errors import KmirrorError, NotFound, with_remedy
from kmirror.log import events
from kmirror.model.access import Access
from kmirror.model.link import Link
from kmirror.model.security import Security
from kmirror.model.tasks import TaskError
from kmirror.state.links import LinkStore
from kmirror.state.runtime import RunFiles
from kmirror.wire.credentials import security_of

if TYPE_CHECKING:
    from kmirror.admin.cluster import ClusterAdmin

log = events(__name__)

MOST_ERRORS: Final = 20
"""Of one run that are told one by one."""
_KEPT_CLIENTS: Final = 4


class TaskEnv:
    """What all tasks of a link share. Used from their threads."""

    def __init__(self, store: LinkStore, files: RunFiles, link: str) -> None:
        self.store = store
        self.files = files
        self.link = link
        self.topics = threading.Lock()
        """Held while a mirror topic's configs are changed by what is recorded of it, and while it is released."""
        self.stopping = threading.Event()
        self._clients = threading.Lock()

    def admin(self, access: Access, side: str) -> "ClusterAdmin":
        """A client that is kept, as long as secrets are the same: each has connections and threads of its own."""
        with self._clients:
            return _client(access, side, security_of(access))


@lru_cache(maxsize=_KEPT_CLIENTS)
def _client(access: Access, side: str, _security: Security) -> "ClusterAdmin":
    from kmirror.admin.cluster import ClusterAdmin  # librdkafka takes 14 MB and 50 ms: only a link with tasks has it

    return ClusterAdmin(access, side)


class TaskRun:
    """One run of a task: the clusters, and what it tells of its work.

    `link` is as it was recorded when the run began. `rest_s`: not before so long after its beginning the next one
    begins, however short the period is; set where a run costs the more the more there is.
    """

    def __init__(self, name: str, link: Link, env: TaskEnv) -> None:
        self.name = name
        self.link = link
        self.env = env
        self.changes = 0
        self.errors: list[TaskError] = []
        self.counts: dict[str, int] = {}
        self.rest_s = 0.0
        self._suppressed = 0

    @property
    def source(self) -> "ClusterAdmin":
        return self.env.admin(self.link.source, "source")

    @property
    def destination(self) -> "ClusterAdmin":
        return self.env.admin(self.link.destination, "destination")

    @property
    def stopping(self) -> bool:
        """The runner ends: return soon, the next run goes on."""
        return self.env.stopping.is_set()

    def recorded(self) -> Link:
        """The link as it is recorded now; raises NotFound."""
        return self.env.store.get(self.link.name)

    def changed(self, what: str, old: object, new: object) -> None:
        """Tells of a change at the destination that was just made; None: there was none, or is none any more."""
        self.changes += 1
        self.noted(what, old, new)

    def noted(self, what: str, old: object, new: object) -> None:
        """Tells of a change that is not at the destination yet: of what is recorded."""
        log.info("changed", task=self.name, what=what, old=_shown(old), new=_shown(new))

    def problem(self, code: str, message: str) -> None:
        """Something of this run could not be done; the rest goes on, and the task is IN_ERROR."""
        if len(self.errors) < MOST_ERRORS:
            self.errors.append(TaskError(code, message))
        else:
            self._suppressed += 1

    def failed(self, error: KmirrorError) -> None:
        """`problem` by an error that was raised."""
        self.problem(code_of(error), with_remedy(error))

    @property
    def told(self) -> tuple[TaskError, ...]:
        """All errors, the last one for those that were too many."""
        if not self._suppressed:
            return tuple(self.errors)
        return (*self.errors, TaskError("SUPPRESSED_ERRORS", f"and {self._suppressed} more"))


class Task(ABC):
    """One kind of work beside the copying; an instance serves one link."""

    name: ClassVar[str]

    @abstractmethod
    def period_s(self, configs: Mapping[str, str]) -> float | None:
        """Seconds from one run to the next; None where the configs of the link don't ask for it."""

    @abstractmethod
    def run(self, run: TaskRun) -> None:
        """Does the work once. Blocks, in a thread of its own; raises KmirrorError where nothing could be done."""

    def failed_over(self, run: TaskRun, topic: str) -> None:  # noqa: B027
        """As last_run, before a failover: the source may be gone. What it raises is told, and that is all."""

    def released(self, run: TaskRun, topic: str) -> None:  # noqa: B027
        """The mirror is a topic of its own since a moment. What it raises is told, and that is all."""

    def last_run(self, run: TaskRun, topic: str) -> None:  # noqa: B027  # most have nothing to do then
        """The last one for this mirror: a promote has copied all, and waits for it. What it raises is tried again."""


def code_of(error: KmirrorError) -> str:
    """Cluster Linking's name of the cause; what is not found is a topic."""
    if isinstance(error, NotFound):
        return "UNKNOWN_TOPIC_OR_PARTITION_ERROR"
    return getattr(error, "code", "INTERNAL_ERROR")


def _shown(value: object) -> str:
    return "(none)" if value is None else str(value)
