"""The process that mirrors one link: `kmirror link run`. It holds the link's lock for life, and ends on SIGTERM."""

import asyncio
import contextlib
import gc
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from kmirror import __version__
from kmirror.engine.copy import now_ms
from kmirror.engine.counters import RunCounters
from kmirror.engine.identity import Superseded
from kmirror.engine.link import LinkEngine
from kmirror.errors import KmirrorError, NotFound, StateError
from kmirror.log import events
from kmirror.model.link import Link
from kmirror.model.setting import SettingError
from kmirror.model.settings import LinkSettings, settings_from, shown
from kmirror.model.status import LinkState, LinkStatus, Trouble
from kmirror.process.control_server import ControlServer
from kmirror.process.crew import WorkerLost
from kmirror.process.logs import TEXT, Log, logging_to
from kmirror.process.memory import share_one_arena
from kmirror.process.paced_loop import PacedSelector, run_paced
from kmirror.process.recording import LinkRecorder
from kmirror.process.sights import RunnerSights
from kmirror.state.links import LinkStore
from kmirror.state.paths import Home
from kmirror.state.runtime import RunFiles
from kmirror.tasks.growth import NAME as GROWTH
from kmirror.tasks.growth import PartitionGrowth
from kmirror.tasks.registry import all_tasks
from kmirror.tasks.scheduler import TaskScheduler
from kmirror.tasks.task import TaskEnv

if TYPE_CHECKING:
    from kmirror.process.metrics_server import MetricsServer

log = events(__name__)

EXIT_SUPERSEDED: Final = 5
"""Another runner has this link: a supervisor must not start us again (RestartPreventExitStatus=5)."""
_STATUS_S: Final = 1.0
_STATUS_SHARE: Final = 0.005
"""Of the time of a core: with thousands of partitions status.json is written less often. Who asks is told at once."""
_STATUS_MOST_S: Final = 4.0  # a verb whose question is not answered takes a younger file than 5 s for fresh
_SWITCH_S: Final = 0.0005  # after so long a task's thread lets the copy go on; Python's own 5 ms are a record's delay
_LOOK_S: Final = 0.25  # how soon a change of links.toml is seen without a nudge


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How one run is to be. The address and the format go before the link's own `metrics.address` and `log.format`.

    Logs to stderr without a `log_file`; `on_status` is called each second, and less often with thousands of partitions.
    `workers`: how many processes copy; with one it is the runner itself.
    """

    log_file: Path | None = None
    log_format: str | None = None
    metrics_address: str | None = None
    on_status: Callable[[LinkStatus], None] | None = None
    workers: int = 1


def run_link(home: Home, link: str, options: RunOptions) -> int:
    """Mirrors `link` until SIGTERM or SIGINT; returns the exit code.

    Raises NotFound for an unknown link, LinkBusy while another process runs it, StateError where it can't tell metrics
    at the address that is wanted.
    """
    os.umask(0o077)
    share_one_arena()
    store = LinkStore(home)
    store.get(link)
    files = RunFiles(home, link)
    files.create()
    with files.lock as lock:
        lock.acquire(link, {"pid": os.getpid(), "started_ms": now_ms()})
        with logging_to(options.log_file, link) as log_lines:
            sys.setswitchinterval(_SWITCH_S)
            gc.freeze()  # what was imported stays: without this each full collection looks through all of it
            return run_paced(_Runner(store, files, link, options, log_lines).run)


def _end_undisturbed(loop: asyncio.AbstractEventLoop) -> None:
    """A signal that arrives while the loop closes would find its pipe closed, and Python would print a traceback."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
        loop.remove_signal_handler(number)  # gives it its default again: it ends the process, and nothing is lost
    signal.set_wakeup_fd(-1)


class _Runner:
    def __init__(self, store: LinkStore, files: RunFiles, link: str, options: RunOptions, log_lines: Log) -> None:
        self._store = store
        self._files = files
        self._name = link
        self._options = options
        self._log_lines = log_lines
        self._started_ms = now_ms()
        self._seen = (-1, -1)
        self._reload = asyncio.Event()
        self._link: Link = store.get(link)
        self._settings = settings_from(self._link.configs)
        self._env = TaskEnv(store, files, link)
        self._growth = PartitionGrowth()
        self._tasks = TaskScheduler(all_tasks(), self._env, self._link, ready=lambda: self._engine.tenure.held)
        self._renewing = False
        self._counters = RunCounters()
        self._engine = self._new_engine()
        self._control = ControlServer(files.socket, self._fresh_status, self._reload.set, self._env.stopping.is_set)
        self._sights = RunnerSights(lambda: self._engine, lambda: self._status(of_late=True), self._counters)
        self._set_log_format()
        self._metrics_at: str | None = None
        self._metrics: MetricsServer | None = None

    def _new_engine(self) -> LinkEngine:
        recorder = LinkRecorder(self._env, self._growth, self._tasks, self._reload.set)
        given = (self._link, self._settings, recorder, self._counters)
        if self._options.workers == 1:
            return LinkEngine(*given)
        from kmirror.process.lead import LeadEngine  # what few runners need

        return LeadEngine(*given, workers=self._options.workers)

    async def run(self, selector: PacedSelector) -> int:
        loop = asyncio.get_running_loop()
        selector.pause_s = lambda: self._engine.pause_s()  # noqa: PLW0108  # of whichever engine there is then
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_signal, number)
        log.info("runner begins", link=self._name, pid=os.getpid(), version=__version__)
        self._serve_metrics()
        await self._control.start()
        self._look()
        self._write_status()
        beside = [loop.create_task(work) for work in (self._follow_links(), self._report(), self._tasks.run())]
        try:
            await self._run_engines()
        except Superseded as e:
            log.error("runner ends: another one has the link", link=self._name, error=e.message)  # noqa: TRY400  # not a fault of ours
            return EXIT_SUPERSEDED
        except WorkerLost as e:
            log.error("runner ends; the next goes on where the log ends", link=self._name, error=e.message)  # noqa: TRY400  # as above
            return 1
        except Exception:
            log.exception("runner ends by a fault of kmirror; the next goes on where the log ends", link=self._name)
            return 1
        finally:
            await self._tasks.end()
            for task in beside:
                task.cancel()
            await asyncio.gather(*beside, return_exceptions=True)
            await self._control.close()
            if self._metrics:
                self._metrics.close()
            self._write_status()
            _end_undisturbed(loop)
        log.info("runner ends", link=self._name)
        return 0

    async def _run_engines(self) -> None:
        """One; and, when settings of the link have changed, the next: it goes on where the log ends."""
        await self._engine.run()
        while self._renewing:
            self._renewing = False
            self._engine = self._new_engine()
            self._engine.apply(self._link.mirrors, paused=self._link.paused)
            await self._engine.run()

    def _stop(self) -> None:
        self._renewing = False
        self._env.stopping.set()
        self._engine.stop()

    def _on_signal(self, number: int) -> None:
        log.info("runner is to end", signal=signal.Signals(number).name)
        self._stop()
        loop = asyncio.get_running_loop()
        for again in (signal.SIGTERM, signal.SIGINT):  # a second one ends it at once: nothing is lost by that
            loop.remove_signal_handler(again)
            signal.signal(again, signal.SIG_DFL)

    # --- what is wanted

    async def _follow_links(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_S):
                    await self._reload.wait()
            self._reload.clear()
            self._look()

    def _look(self) -> None:
        """Reads links.toml when it was replaced. A damaged one changes nothing here: the last good one holds."""
        version = self._store.version()
        if version == self._seen:
            return
        self._seen = version
        try:
            found = self._store.get(self._name)
            settings = settings_from(found.configs)
        except NotFound:
            log.info("link was deleted", link=self._name)
            self._stop()
        except (StateError, SettingError) as e:
            log.error("links.toml can't be taken", error=str(e))  # noqa: TRY400  # no traceback: it is not a fault of ours
        else:
            self._take(found, settings)

    def _take(self, link: Link, settings: LinkSettings) -> None:
        """What is wanted now. Most of it the engine takes as it runs; other settings need a new one."""
        before, self._link = self._link, link
        self._note_changes(before, link)
        addresses = [(each.source, each.destination) for each in (before, link)]
        anew = settings != self._settings or addresses[0] != addresses[1]
        self._settings = settings
        if anew:
            self._renewing = not self._env.stopping.is_set()
            self._engine.stop()
        elif not self._renewing:
            self._engine.apply(link.mirrors, paused=link.paused)
            self._engine.set_rate(settings.io_max_bytes_per_s)
        self._tasks.apply(link)
        self._set_log_format()
        try:
            self._serve_metrics()
        except StateError as e:  # the copying goes on, whoever has the port
            log.error("no metrics", error=e.message)  # noqa: TRY400  # as above

    @staticmethod
    def _note_changes(before: Link, after: Link) -> None:
        for key in sorted(before.configs.keys() | after.configs.keys()):
            old, new = (configs.get(key) for configs in (before.configs, after.configs))
            if old != new:
                told = ["(default)" if value is None else shown(key, value) for value in (old, new)]
                log.info("configuration changed", key=key, old=told[0], new=told[1])

    # --- what is seen

    async def _report(self) -> None:
        took_s = 0.0
        while True:
            await asyncio.sleep(min(_STATUS_MOST_S, max(_STATUS_S, took_s / _STATUS_SHARE)))
            await self._engine.look()
            began = time.thread_time()
            self._write_status()
            took_s = time.thread_time() - began
            self._log_lines.tick()

    def _write_status(self) -> None:
        status = self._sights.look()
        try:
            self._files.write_status(status)
        except (OSError, KmirrorError) as e:
            log.warning("status.json can't be written", error=str(e))
        if self._options.on_status:
            self._options.on_status(status)

    async def _fresh_status(self) -> LinkStatus:
        await self._engine.look()
        return self._status()

    def _status(self, *, of_late: bool = False) -> LinkStatus:
        engine = self._engine
        trouble = engine.destination_metadata.trouble or engine.source_metadata.trouble or engine.tenure.trouble
        return LinkStatus(
            link=self._name,
            pid=os.getpid(),
            started_ms=self._started_ms,
            updated_ms=engine.seen_ms,
            state=self._state(trouble),
            run_token=engine.identity.run_token,
            trouble=trouble,
            mirrors=engine.status(of_late=of_late),
            throttled=engine.throttled(),
            tasks={**self._tasks.status(), GROWTH: self._growth.status(self._link)},
        )

    def _state(self, trouble: Trouble | None) -> LinkState:
        if self._link.paused:
            return LinkState.PAUSED
        return LinkState.UNAVAILABLE if trouble else LinkState.ACTIVE

    def _set_log_format(self) -> None:
        self._log_lines.set_form(self._options.log_format or self._link.configs.get("log.format") or TEXT)

    def _serve_metrics(self) -> None:
        """Where the option says, else where the link says now. Raises StateError where that can't be."""
        wanted = self._options.metrics_address or self._link.configs.get("metrics.address") or None
        if wanted == self._metrics_at:
            return
        if self._metrics:
            self._metrics.close()
        self._metrics, self._metrics_at = None, wanted
        if wanted:
            from kmirror.process.metrics_server import MetricsServer  # megabytes that few runners need

            self._metrics = MetricsServer(wanted, self._sights)
            log.info("metrics and health", url=f"http://{self._metrics.address}/")
