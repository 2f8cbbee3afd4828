"""Runs the tasks of a link: each in a loop and a thread of its own, at its period, with back-off while it fails."""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Final

from kmirror.engine.backoff import wait_for_event
from kmirror.engine.copy import now_ms
from kmirror.errors import ClusterError, KmirrorError, Unreachable, with_remedy
from kmirror.log import events
from kmirror.model.link import Link
from kmirror.model.tasks import TaskError, TaskState, TaskStatus
from kmirror.tasks.task import Task, TaskEnv, TaskRun, code_of
from kmirror.tasks.threads import in_thread

log = events(__name__)

_FIRST_S: Final = 1.0  # after the start of the runner: the copying goes first
_NOT_READY_S: Final = 0.5
_MOST_BACKOFF_S: Final = 60.0
_END_S: Final = 5.0


class TaskScheduler:
    """`apply` tells what is wanted, `run` does it until cancelled; `status` is there to be shown.

    `ready` says whether this runner holds the link: of two runners only one may change the destination.
    """

    def __init__(self, tasks: Sequence[Task], env: TaskEnv, link: Link, ready: Callable[[], bool]) -> None:
        self._env = env
        self._tasks = tuple(tasks)
        self._loops = [_TaskLoop(task, env, link, ready) for task in tasks]

    def apply(self, link: Link) -> None:
        """Takes the link as it is recorded now. Changed configs have every task run at once."""
        for loop in self._loops:
            loop.apply(link)

    async def run(self) -> None:
        await asyncio.gather(*(loop.run() for loop in self._loops))

    async def end(self) -> None:
        """Lets what runs end by itself, at most 5 s; what hangs in a call is left behind."""
        self._env.stopping.set()
        deadline = time.monotonic() + _END_S
        while any(loop.busy for loop in self._loops) and time.monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(0.05)

    def status(self) -> dict[str, TaskStatus]:
        return {loop.name: loop.status() for loop in self._loops}

    def last_runs(self, topic: str) -> None:
        """The last run of every task that the link has, for a mirror that a promote ends. Blocks.

        Raises ClusterError with the first thing that could not be done.
        """
        link = self._env.store.get(self._env.link)
        for task in self._tasks:
            if task.period_s(link.configs) is None:
                continue
            run = TaskRun(task.name, link, self._env)
            try:
                task.last_run(run, topic)
            except KmirrorError as e:
                raise ClusterError(f"last {task.name}: {with_remedy(e)}", hint=e.hint, code=code_of(e)) from e
            except Exception as e:
                log.exception("last run of a task ended by a fault of kmirror", task=task.name, topic=topic)
                raise ClusterError(f"last {task.name}: {type(e).__name__}: {e}") from e
            if run.errors:
                raise ClusterError(f"last {task.name}: {run.errors[0].error_message}", code=run.errors[0].error_code)

    def failed_over(self, topic: str) -> None:
        """What tasks can do without the source for a mirror that a failover ends. Blocks; raises nothing."""
        self._told(topic, lambda task, run: task.failed_over(run, topic))

    def released(self, topic: str) -> None:
        """What is to follow when a mirror has become a topic of its own. Blocks; raises nothing."""
        self._told(topic, lambda task, run: task.released(run, topic))

    def _told(self, topic: str, act: Callable[[Task, TaskRun], None]) -> None:
        link = self._env.store.get(self._env.link)
        for task in self._tasks:
            if task.period_s(link.configs) is None:
                continue
            run = TaskRun(task.name, link, self._env)
            try:
                act(task, run)
            except KmirrorError as e:
                run.failed(e)
            except Exception:
                log.exception("task ended by a fault of kmirror", task=task.name, topic=topic)
            for error in run.told:
                log.warning(
                    "task failed at the end of a mirror",
                    task=task.name,
                    topic=topic,
                    code=error.error_code,
                    error=error.error_message,
                )


class _TaskLoop:
    def __init__(self, task: Task, env: TaskEnv, link: Link, ready: Callable[[], bool]) -> None:
        self.name = task.name
        self.busy = False
        self._task = task
        self._env = env
        self._link = link
        self._ready = ready
        self._changed = asyncio.Event()
        self._due_s = time.monotonic() + _FIRST_S
        self._in_a_row = 0
        self._silent = False
        self._errors: tuple[TaskError, ...] = ()
        self._last_run_ms: int | None = None
        self._last_success_ms: int | None = None
        self._runs = self._failures = self._changes = 0
        self._counts: dict[str, int] = {}

    def apply(self, link: Link) -> None:
        if link.configs != self._link.configs:
            self._due_s = time.monotonic()
            self._in_a_row = 0
        self._link = link
        self._changed.set()

    async def run(self) -> None:
        while True:
            self._changed.clear()
            wait_s = self._wait_s()
            if wait_s is None:
                await self._changed.wait()
            elif wait_s > 0:
                await wait_for_event(self._changed, wait_s)
            else:
                await self._once()

    def _wait_s(self) -> float | None:
        """Until the next run; None: until something is changed."""
        if self._period_s is None or self._link.paused:
            return None
        left = self._due_s - time.monotonic()
        return left if left > 0 or self._ready() else _NOT_READY_S

    @property
    def _period_s(self) -> float | None:
        return self._task.period_s(self._link.configs)

    async def _once(self) -> None:
        began_s = time.monotonic()
        link = self._link
        run = TaskRun(self.name, link, self._env)
        self._last_run_ms = now_ms()
        self.busy = True
        fault: Exception | None = None
        try:
            await in_thread(lambda: self._task.run(run), f"kmirror-{self.name}")
        except Exception as e:
            fault = e
        finally:
            self.busy = False
        self._note(run, fault)
        period_s = self._period_s or 0.0
        if self._link.configs == link.configs:  # else it is due at once
            self._due_s = began_s + max(self._delay_s(period_s), run.rest_s)

    def _delay_s(self, period_s: float) -> float:
        """A failing task runs less and less often; one of which a part failed goes on as ever."""
        return period_s if not self._in_a_row else max(period_s, min(_MOST_BACKOFF_S, period_s * 2**self._in_a_row))

    def _note(self, run: TaskRun, fault: Exception | None) -> None:
        self._runs += 1
        self._changes += run.changes
        self._counts = dict(run.counts)
        errors = run.told
        self._silent = isinstance(fault, Unreachable)
        if isinstance(fault, KmirrorError):
            errors = (TaskError(code_of(fault), with_remedy(fault)), *errors)
        elif fault is not None:
            log.error("task ended by a fault of kmirror", task=self.name, exc_info=fault)
            errors = (TaskError("INTERNAL_ERROR", f"{type(fault).__name__}: {fault}"), *errors)
        self._in_a_row = self._in_a_row + 1 if fault is not None else 0
        if errors:
            self._failures += 1
        else:
            self._last_success_ms = now_ms()
        for error in errors:
            if error not in self._errors:  # once, not at every run
                log.warning("task failed", task=self.name, code=error.error_code, error=error.error_message)
        if self._errors and not errors:
            log.info("task works again", task=self.name)
        self._errors = errors

    def status(self) -> TaskStatus:
        period_s = self._period_s
        configured = period_s is not None
        return TaskStatus(
            name=self.name,
            state=self._state(configured=configured),
            errors=self._errors if configured else (),
            period_ms=None if period_s is None else round(period_s * 1000),
            last_run_ms=self._last_run_ms,
            last_success_ms=self._last_success_ms,
            runs=self._runs,
            failures=self._failures,
            changes=self._changes,
            counts=self._counts,
        )

    def _state(self, *, configured: bool) -> TaskState:
        if not configured:
            return TaskState.NOT_CONFIGURED
        if self._link.paused:
            return TaskState.LINK_PAUSED
        if self._errors:
            return TaskState.LINK_UNAVAILABLE if self._silent else TaskState.IN_ERROR
        return TaskState.ACTIVE
