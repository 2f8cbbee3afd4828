"""Tasks at their periods: one that hangs or fails holds up nobody, and what they say of themselves."""

import asyncio
import contextlib
import logging
import threading
from dataclasses import replace

import pytest

from kmirror.errors import ClusterError, Unreachable
from kmirror.model.tasks import TaskError, TaskState
from kmirror.state.paths import Home
from kmirror.state.runtime import RunFiles
from kmirror.tasks import scheduler as module
from kmirror.tasks.scheduler import TaskScheduler
from kmirror.tasks.task import MOST_ERRORS, Task, TaskEnv
from support.recorded import a_link, a_mirror, store

LINK = a_link("east-west", a_mirror("orders"))


class Counting(Task):
    """Runs `work` every 10 ms, if the link's configs have its name."""

    def __init__(self, name, work=lambda run: None):
        self.name = name
        self.work = work
        self.runs = 0

    def period_s(self, configs):
        return float(configs[self.name]) if self.name in configs else None

    def run(self, run):
        self.runs += 1
        self.work(run)

    def last_run(self, run, topic):
        self.work(run)


def link_with(**configs):
    return replace(LINK, configs={**LINK.configs, **configs})


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    monkeypatch.setattr(module, "_FIRST_S", 0.0)
    monkeypatch.setattr(module, "_NOT_READY_S", 0.01)


@pytest.fixture
def env(tmp_path):
    home = Home(tmp_path, tmp_path / "run")
    return TaskEnv(store(home, LINK), RunFiles(home, LINK.name), LINK.name)


@contextlib.asynccontextmanager
async def scheduled(env, link, *tasks, ready=lambda: True):
    scheduler = TaskScheduler(tasks, env, link, ready)
    running = asyncio.create_task(scheduler.run())
    try:
        yield scheduler
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running


async def until(holds):
    async with asyncio.timeout(20):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


def test_a_task_that_hangs_holds_up_nobody(env):
    let_go = threading.Event()

    async def check():
        hanging, other = Counting("a", lambda run: let_go.wait(20)), Counting("b")
        async with scheduled(env, link_with(a="0.01", b="0.01"), hanging, other) as scheduler:
            await until(lambda: other.runs >= 5)
            assert hanging.runs == 1
            assert scheduler.status()["b"].state is TaskState.ACTIVE
            let_go.set()
            await until(lambda: hanging.runs >= 2)

    asyncio.run(check())


def test_what_a_run_raises_is_told_and_tried_again(env, caplog):
    broken = [True]

    def work(run):
        if broken[0]:
            raise ClusterError("no", code="POLICY_VIOLATION_ERROR")

    async def check():
        task = Counting("a", work)
        async with scheduled(env, link_with(a="0.01"), task) as scheduler:
            await until(lambda: task.runs >= 3 and scheduler.status()["a"].runs >= 3)
            status = scheduler.status()["a"]
            assert status.state is TaskState.IN_ERROR
            assert status.errors == (TaskError("POLICY_VIOLATION_ERROR", "no"),)
            assert status.last_success_ms is None
            assert status.failures == status.runs
            broken[0] = False
            await until(lambda: scheduler.status()["a"].state is TaskState.ACTIVE)
            assert scheduler.status()["a"].last_success_ms is not None

    with caplog.at_level(logging.INFO, "kmirror"):
        asyncio.run(check())
    told = [(r.message, r.facts) for r in caplog.records]
    assert told == [
        ("task failed", {"task": "a", "code": "POLICY_VIOLATION_ERROR", "error": "no"}),
        ("task works again", {"task": "a"}),
    ]


def test_failures_make_it_run_less_often():
    task = Counting("a")
    link = link_with(a="2")

    async def delays():
        loop = module._TaskLoop(task, None, link, lambda: True)
        for fails in range(8):
            loop._in_a_row = fails
            yield loop._delay_s(2.0)

    async def check():
        return [delay async for delay in delays()]

    assert asyncio.run(check()) == [2, 4, 8, 16, 32, 60, 60, 60]


def test_a_task_that_has_much_to_do_rests_longer(env):
    def work(run):
        run.rest_s = 600.0

    async def check():
        heavy, other = Counting("a", work), Counting("b")
        async with scheduled(env, link_with(a="0.01", b="0.01"), heavy, other):
            await until(lambda: other.runs >= 20 and heavy.runs)
            assert heavy.runs == 1

    asyncio.run(check())


def test_a_fault_of_a_task_is_in_error_and_no_end(env, caplog):
    def work(run):
        raise ZeroDivisionError("oh")

    async def check():
        async with scheduled(env, link_with(a="0.01"), Counting("a", work)) as scheduler:
            await until(lambda: scheduler.status()["a"].runs >= 2)
            assert scheduler.status()["a"].errors == (TaskError("INTERNAL_ERROR", "ZeroDivisionError: oh"),)

    asyncio.run(check())
    assert "ZeroDivisionError" in caplog.text


def test_a_cluster_that_is_silent(env):
    def work(run):
        raise Unreachable("nobody", code="TIMEOUT_ERROR")

    async def check():
        async with scheduled(env, link_with(a="0.01"), Counting("a", work)) as scheduler:
            await until(lambda: scheduler.status()["a"].runs)
            assert scheduler.status()["a"].state is TaskState.LINK_UNAVAILABLE

    asyncio.run(check())


def test_configs_switch_it_on_and_off_as_it_runs(env):
    async def check():
        task = Counting("a")
        async with scheduled(env, LINK, task) as scheduler:
            await asyncio.sleep(0.05)
            assert (task.runs, scheduler.status()["a"].state) == (0, TaskState.NOT_CONFIGURED)
            scheduler.apply(link_with(a="3600"))
            await until(lambda: task.runs == 1)
            scheduler.apply(link_with(a="7200"))  # changed configs: at once, not in an hour
            await until(lambda: task.runs == 2)
            scheduler.apply(link_with(a="7200"))  # the same: nothing
            scheduler.apply(LINK)
            await asyncio.sleep(0.05)
            assert (task.runs, scheduler.status()["a"].state) == (2, TaskState.NOT_CONFIGURED)

    asyncio.run(check())


def test_nothing_runs_while_the_link_is_paused_or_another_runner_has_it(env):
    async def check():
        held = [False]
        task = Counting("a")
        async with scheduled(env, link_with(a="0.01"), task, ready=lambda: held[0]) as scheduler:
            await asyncio.sleep(0.05)
            assert task.runs == 0
            held[0] = True
            await until(lambda: task.runs > 0)
            scheduler.apply(link_with(a="0.01", **{"cluster.link.paused": "true"}))
            await until(lambda: not scheduler._loops[0].busy)
            before = task.runs
            await asyncio.sleep(0.05)
            assert (task.runs, scheduler.status()["a"].state) == (before, TaskState.LINK_PAUSED)

    asyncio.run(check())


def test_changes_and_problems_of_a_run(env, caplog):
    def work(run):
        run.changed('topic "orders" retention.ms', None, 5)
        run.counts["topics"] = 7
        for number in range(MOST_ERRORS + 3):
            run.problem("TOPIC_EXISTS_ERROR", f"topic {number}")

    async def check():
        async with scheduled(env, link_with(a="3600"), Counting("a", work)) as scheduler:
            await until(lambda: scheduler.status()["a"].runs)
            return scheduler.status()["a"]

    with caplog.at_level(logging.INFO, "kmirror"):
        status = asyncio.run(check())
    assert (status.changes, status.counts, status.state) == (1, {"topics": 7}, TaskState.IN_ERROR)
    assert len(status.errors) == MOST_ERRORS + 1
    assert status.errors[-1] == TaskError("SUPPRESSED_ERRORS", "and 3 more")
    facts = next(r.facts for r in caplog.records if r.message == "changed")
    assert facts == {"task": "a", "what": 'topic "orders" retention.ms', "old": "(none)", "new": "5"}


@pytest.mark.parametrize("error", [ClusterError("no", code="X"), ZeroDivisionError("oh")])
def test_a_last_run_that_fails_says_so(env, error):
    def work(run):
        raise error

    configured = link_with(a="1")
    env.store.change(lambda links: links.update({LINK.name: configured}))
    scheduler = TaskScheduler([Counting("a", work), Counting("not-configured", work)], env, LINK, lambda: True)

    with pytest.raises(ClusterError, match="last a: "):
        scheduler.last_runs("orders")


def test_the_end_waits_for_what_runs(env):
    async def check():
        seen = []

        def work(run):
            while not run.stopping:
                pass
            seen.append(True)

        task = Counting("a", work)
        async with scheduled(env, link_with(a="1"), task) as scheduler:
            await until(lambda: task.runs)
            await scheduler.end()
            assert seen == [True]

    asyncio.run(check())
