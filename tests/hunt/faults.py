"""Carries out a schedule's faults on the runner, the clusters and the proxies, and heals everything in the end."""

import heapq
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from itertools import count
from pathlib import Path

from hunt.schedule import Fault, Kind
from hunt.stage import Stage
from support.kmirror_cli import Kmirror
from support.processes import parent_of
from support.wait import eventually

EXPECTED_ENDS = {0, 5, -signal.SIGKILL, -signal.SIGTERM}
"""Of runners: stopped, superseded, killed. Anything else is a finding."""


class Runners:
    """The runner of the link, and those on copies of its home."""

    def __init__(self, kmirror: Kmirror, link: str, logs: Path, *, workers: int = 1) -> None:
        self.kmirror = kmirror
        self.link = link
        self.workers = workers
        self.findings: list[str] = []
        self.seconds: list[tuple[Kmirror, subprocess.Popen[bytes]]] = []
        self.primary: subprocess.Popen[bytes] | None = None
        self.wiped = False
        self._logs = logs
        self._number = count()
        self._told: set[int] = set()
        self._all: list[tuple[subprocess.Popen[bytes], Path]] = []

    def start(self) -> None:
        """The link's own runner, where none runs."""
        if self.pid is None:
            self.primary = self.spawn(self.kmirror, "runner")

    @property
    def pid(self) -> int | None:
        if self.primary is not None and self.primary.poll() is None:
            return self.primary.pid
        return self.kmirror.runner_pid(self.link)

    def second(self) -> None:
        """One more, on a copy of links.toml as it is now."""
        home = self.kmirror.home.with_name(f"home-{next(self._number)}")
        home.mkdir(mode=0o700)
        shutil.copy2(self.kmirror.links_file, home / "links.toml")
        other = Kmirror(home)
        self.seconds.append((other, self.spawn(other, "second")))

    def beside(self) -> None:
        """One more on the same home, whose lock was deleted."""
        self.seconds.append((self.kmirror, self.spawn(self.kmirror, "beside")))

    def spawn(self, kmirror: Kmirror, name: str) -> subprocess.Popen[bytes]:
        path = self._logs / f"{name}-{next(self._number)}.log"
        with path.open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "kmirror", "link", "run", self.link, "--workers", str(self.workers)],
                env=kmirror.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self._all.append((process, path))
        return process

    def signal(self, number: signal.Signals, *, share: float = 1.0) -> None:
        """To the runner; where it has workers a share below a half says to which of them instead."""
        pid = self.pid
        if pid is None:
            return
        workers = [process.pid for process in self.kmirror.workers() if parent_of(process.pid) == pid]
        send(workers[int(share * 2 * len(workers))] if workers and share < 0.5 else pid, number)

    def thaw(self) -> None:
        for process in self.kmirror.processes():
            send(process.pid, signal.SIGCONT)
        for kmirror, _ in self.seconds:
            for process in kmirror.processes():
                send(process.pid, signal.SIGCONT)

    def end_seconds(self) -> None:
        for _, process in self.seconds:
            self._end(process)

    def end(self) -> None:
        """All of them; what does not follow SIGTERM is a finding."""
        self.end_seconds()
        if self.primary is not None:
            self._end(self.primary)
        for kmirror in [self.kmirror, *(kmirror for kmirror, _ in self.seconds)]:
            kmirror.stop_all()
            for process in kmirror.processes():
                process.kill()
        self.look()

    def look(self) -> None:
        """Did one end that nobody ended?"""
        for process, path in self._all:
            code = process.poll()
            if code is None or process.pid in self._told:
                continue
            self._told.add(process.pid)
            text = path.read_text(errors="replace")
            expected = code in EXPECTED_ENDS or (code == 1 and "has ended: killed by SIGKILL" in text)
            if not expected and "is already running" not in text:
                self.findings.append(f"{path.name} ended with {code}: {text[-1500:]}")
            elif "fault of kmirror" in text or "Traceback" in text:
                self.findings.append(f"{path.name} has a traceback: {text[-3000:]}")

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        if process.poll() is not None:
            return
        process.send_signal(signal.SIGCONT)
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            self.findings.append(f"runner {process.pid} did not end within 20 s of SIGTERM")
            process.kill()
            process.wait()


class Faults:
    def __init__(self, stage: Stage, runners: Runners, verb: Callable[[Fault], None]) -> None:
        self.done: Counter[str] = Counter()
        self._stage = stage
        self._runners = runners
        self._verb = verb
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()
        self._started = 0.0
        self._met = {id(proxy): proxy.done.copy() for cluster in stage.clusters.values() for proxy in cluster.proxies}

    def run(self, faults: tuple[Fault, ...], until_s: float) -> None:
        """From the thread that started the clusters. Returns when the time is over, whatever is still to come."""
        self._started = time.monotonic()
        for fault in faults:
            self._at(fault.at_s, lambda fault=fault: self._begin(fault))
        while (now := time.monotonic() - self._started) < until_s:
            if self._queue and self._queue[0][0] <= now:
                heapq.heappop(self._queue)[2]()
            else:
                due = self._queue[0][0] - now if self._queue else until_s
                time.sleep(max(0.0, min(0.05, due, until_s - now)))

    def heal(self) -> None:
        """Everything runs: brokers, proxies, one runner."""
        self._runners.thaw()
        for cluster in self._stage.clusters.values():
            cluster.heal()
            for proxy in cluster.proxies:
                for what, times in (proxy.done - self._met[id(proxy)]).items():
                    self.done[what] += times
        self._runners.end_seconds()
        self._runners.look()
        eventually(lambda: (self._runners.start(), self._runners.pid)[1], 20, "a runner runs", 0.3)

    def _at(self, when_s: float, act: Callable[[], None]) -> None:
        heapq.heappush(self._queue, (when_s, next(self._order), act))

    def _later(self, delay_s: float, act: Callable[[], None]) -> None:
        self._at(time.monotonic() - self._started + delay_s, act)

    def _begin(self, fault: Fault) -> None:
        if fault.kind is not Kind.FRAME:  # those are counted when they meet a frame
            self.done[fault.kind] += 1
        if fault.kind in (Kind.PROMOTE, Kind.FAILOVER):
            self._verb(fault)
        elif fault.kind.startswith("broker"):
            self._broker(fault)
        elif fault.kind in (Kind.CUT_ALL, Kind.DELAY, Kind.BLACK_HOLE, Kind.FRAME):
            self._proxy(fault)
        else:
            self._runner(fault)

    def _runner(self, fault: Fault) -> None:
        runners = self._runners
        match fault.kind:
            case Kind.RUNNER_KILL:
                runners.signal(signal.SIGKILL, share=fault.share)
                self._later(fault.lasts_s / 2, runners.start)
            case Kind.RUNNER_TERM:
                runners.signal(signal.SIGTERM)
                self._later(fault.lasts_s / 2, runners.start)
            case Kind.RUNNER_FREEZE:
                runners.signal(signal.SIGSTOP, share=fault.share)
                self._later(fault.lasts_s, runners.thaw)
            case Kind.RUNTIME_WIPE:
                runners.wiped = True
                shutil.rmtree(runners.kmirror.runtime(runners.link), ignore_errors=True)
                if fault.share < 0.5:
                    runners.signal(signal.SIGKILL)
                    self._later(fault.lasts_s / 2, runners.start)
                else:
                    runners.beside()
            case Kind.SECOND_RUNNER:
                runners.second()
            case _:
                runners.signal(signal.SIGSTOP)
                runners.second()
                self._later(fault.lasts_s + 1, runners.thaw)

    def _broker(self, fault: Fault) -> None:
        cluster = self._stage.clusters[fault.side]
        if not cluster.runs(fault.node):
            return
        if fault.kind is Kind.BROKER_FREEZE:
            cluster.suspend(fault.node)
            self._later(fault.lasts_s, lambda: cluster.resume(fault.node))
            return
        if fault.kind is Kind.BROKER_KILL:
            cluster.kill(fault.node)
        else:
            cluster.stop_broker(fault.node, 10)
        self._later(fault.lasts_s / 2, lambda: cluster.relaunch(fault.node))

    def _proxy(self, fault: Fault) -> None:
        proxy = self._stage.clusters[fault.side].proxies[fault.node]
        match fault.kind:
            case Kind.CUT_ALL:
                proxy.cut_all()
            case Kind.DELAY:
                proxy.hold()
                self._later(fault.lasts_s, proxy.release)
            case Kind.BLACK_HOLE:
                proxy.hold()
                self._later(fault.lasts_s, lambda: proxy.release(cut=True))
            case _:
                proxy.arm(fault)


def send(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
