"""The real command line, run as a user runs it: a process of its own, with a home of its own."""

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from support import processes
from support.wait import eventually
from support.warm import WarmStart


class Kmirror:
    """kmirror with its KMIRROR_HOME in a folder of the test."""

    warm: ClassVar[WarmStart | None] = None
    """Where commands are started from, so that they need not import everything anew; None: each for itself."""

    def __init__(self, home: Path, environment: Mapping[str, str] | None = None) -> None:
        self.home = home
        self.environment = {
            **os.environ,
            "KMIRROR_HOME": str(home),
            "NO_COLOR": "1",
            "COLUMNS": "200",
            "TERM": "dumb",
            **(environment or {}),
        }
        self._foreground: list[subprocess.Popen[str]] = []

    @property
    def links_file(self) -> Path:
        return self.home / "links.toml"

    def runtime(self, link: str) -> Path:
        """Where the runner of a link keeps lock, status.json, control.sock and kmirror.log."""
        return self.home / "run" / link

    def run(
        self, *args: str, check: bool = True, timeout: float = 60, stdin: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end. `check` fails the test, with all output, unless it exits with 0."""
        try:
            done = self._run(args, stdin or "", timeout)
        except subprocess.TimeoutExpired as expired:
            told = _output(_text(expired.stdout), _text(expired.stderr))
            raise AssertionError(f"`{_line(args)}` did not end within {timeout} s\n{told}") from expired
        if check and done.returncode != 0:
            raise AssertionError(f"`{_line(args)}` exited with {done.returncode}\n{_output(done.stdout, done.stderr)}")
        return done

    def _run(self, args: tuple[str, ...], stdin: str, timeout: float) -> subprocess.CompletedProcess[str]:
        # PYTHONPATH is for the start of an interpreter: whoever sets it needs one that starts.
        if self.warm and self.environment.get("PYTHONPATH") == os.environ.get("PYTHONPATH"):
            return self.warm.run(args, self.environment, stdin=stdin, timeout=timeout)
        return subprocess.run(
            [sys.executable, "-m", "kmirror", *args],
            env=self.environment,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def json(self, *args: str, timeout: float = 60) -> Any:
        """Run with `-o json` and parse what was printed."""
        done = self.run(*args, "-o", "json", timeout=timeout)
        try:
            return json.loads(done.stdout)
        except ValueError as error:
            told = _output(done.stdout, done.stderr)
            raise AssertionError(f"`{_line(args)} -o json` printed no JSON: {error}\n{told}") from error

    def fails(self, *args: str, code: int = 1, timeout: float = 60, stdin: str | None = None) -> str:
        """Run a command that must be refused with this exit code and no traceback; returns its stderr."""
        done = self.run(*args, check=False, timeout=timeout, stdin=stdin)
        told = _output(done.stdout, done.stderr)
        if done.returncode != code:
            raise AssertionError(f"`{_line(args)}` exited with {done.returncode}, expected {code}\n{told}")
        if "Traceback" in done.stdout + done.stderr:
            raise AssertionError(f"`{_line(args)}` showed a traceback\n{told}")
        return done.stderr

    def start(self, *args: str) -> subprocess.Popen[str]:
        """Start a command that goes on, `link run` for example; stop_all() ends it."""
        log = self.home.with_name(f"{self.home.name}-foreground-{len(self._foreground)}.log")
        with log.open("w") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "kmirror", *args],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                text=True,
            )
        self._foreground.append(process)
        return process

    def runner_pid(self, link: str) -> int | None:
        """The process that holds the link's lock now, or None."""
        path = self.runtime(link) / "lock"
        try:
            with path.open() as lock:
                pid = int(json.load(lock)["pid"])
                # Only ask for the lock while that process lives: asking for a free one would keep a new runner out.
                return pid if processes.alive(pid) and _is_locked(lock.fileno()) else None
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None  # no runner yet, or one that has just opened its lock

    def workers(self) -> list[processes.Process]:
        """The processes that copy for the runners of this home, where that is not the runner itself."""
        return [process for process in self.processes() if _is_worker(process)]

    def lock_is_free(self, link: str) -> bool:
        """The threads of a killed process hold its files for a moment longer than it seems to live.

        To be asked only while nobody starts another one: see `runner_pid`.
        """
        with (self.runtime(link) / "lock").open() as lock:
            return not _is_locked(lock.fileno())

    def runner_pids(self) -> dict[str, int]:
        folders = sorted((self.home / "run").glob("*/lock"))
        pids = {path.parent.name: self.runner_pid(path.parent.name) for path in folders}
        return {link: pid for link, pid in pids.items() if pid is not None}

    def processes(self) -> list[processes.Process]:
        """Everything that runs with this home, detached runners included."""
        return processes.with_environment("KMIRROR_HOME", str(self.home))

    def stop_all(self, timeout: float = 10) -> set[int]:
        """End every runner of this home: politely, then by SIGKILL; returns those that had to be killed."""
        # What then still is no runner is a stray: told by who looks at processes() after this.
        with contextlib.suppress(AssertionError):
            eventually(lambda: self._expected().issuperset(p.pid for p in self.processes() if not _is_worker(p)), 2)
        pids = self._expected()
        for pid in pids:
            _signal(pid, signal.SIGCONT)  # a test may have frozen it
            _signal(pid, signal.SIGTERM)
        try:
            eventually(lambda: not self._running(pids), timeout)
        except AssertionError:
            stubborn = self._running(pids)
            for pid in stubborn:
                _signal(pid, signal.SIGKILL)
            eventually(lambda: not self._running(pids), timeout, "killed runners end")
            return stubborn
        return set()

    def _expected(self) -> set[int]:
        """Those that hold a lock or were started here. A runner that just starts has not got its lock yet."""
        return {*self.runner_pids().values(), *(p.pid for p in self._foreground if p.poll() is None)}

    def _running(self, pids: set[int]) -> set[int]:
        # Our own children are over once they are collected: one whose threads still end looks dead before that.
        children = {process.pid: process.poll() is None for process in self._foreground}
        return {pid for pid in pids if children.get(pid, processes.alive(pid))}


def _is_worker(process: processes.Process) -> bool:
    """One of several that copy for a runner: it ends when that does."""
    return "kmirror.process.worker" in process.command


def _is_locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    return False


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def _line(args: tuple[str, ...]) -> str:
    return " ".join(["kmirror", *args])


def _text(captured: str | bytes | None) -> str:
    return captured.decode(errors="replace") if isinstance(captured, bytes) else captured or ""


def _output(stdout: str, stderr: str) -> str:
    return f"--- stdout ---\n{stdout}\n--- stderr ---\n{stderr}"
