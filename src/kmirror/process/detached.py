"""The detached runner of a link: started by the verbs that need one, found by its lock, ended by SIGTERM."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Final

from kmirror.errors import StateError
from kmirror.process.control import is_ending
from kmirror.state.lock import Runner
from kmirror.state.paths import Home
from kmirror.state.runtime import RunFiles

_TICK_S: Final = 0.05
_END_S: Final = 15.0
_SILENT_S: Final = 2.0
_WORDS: Final = 400


def running(home: Home, link: str) -> Runner | None:
    """The process that runs `link` on this machine; None when none does."""
    return RunFiles(home, link).lock.holder()


def living(home: Home, link: str) -> Runner | None:
    """As `running`, for who would start one: a process that ends has its lock until the last moment, also a killed one.

    Waits for that moment: up to 15 s for a runner that says it ends. One that has its lock and says nothing for 2 s is
    starting, or frozen: it lives.
    """
    lock = RunFiles(home, link).lock
    began = time.monotonic()
    while found := lock.holder():
        ending = is_ending(home, link)
        patience = _SILENT_S if ending is None else _END_S if ending else 0.0
        if time.monotonic() - began >= patience:
            return found
        time.sleep(_TICK_S)
    return None


def start_runner(home: Home, link: str, *, options: Sequence[str] = (), timeout: float = 30) -> Runner:
    """Starts `kmirror link run` apart from this terminal and waits until it holds the lock and has told its status.

    `options` are further ones of `link run`. Returns the running one where one runs. Raises StateError with its last
    words when it ends at once.
    """
    files = RunFiles(home, link)
    files.create()
    found = living(home, link)
    if found:
        return found
    command = [sys.executable, "-m", "kmirror", "link", "run", link, "--log-file", str(files.log), *options]
    fd = os.open(files.output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=fd,
            stderr=fd,
            start_new_session=True,
            cwd="/",
            env={**os.environ, **_absolute_home()},
        )
    finally:
        os.close(fd)
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        runner = files.lock.holder()
        status = files.read_status()
        if runner and status and status.pid == runner.pid:
            return runner  # ours, or one that was started at the same moment
        if child.poll() is not None and not files.lock.holder():
            raise StateError(
                f'the runner of link "{link}" ended at once: {_last_words(files)}',
                hint=f"See `kmirror link logs {link}`, or run it here with `kmirror link run {link}`.",
            )
        time.sleep(_TICK_S)
    raise StateError(
        f'the runner of link "{link}" did not start within {timeout:g} s', hint=f"See `kmirror link logs {link}`."
    )


def stop_runner(home: Home, link: str, *, timeout: float = _END_S) -> bool:
    """Ends the runner: SIGTERM, and SIGKILL when it does not follow within `timeout` s. False when none ran.

    Either way nothing is lost: the position is the destination's log end.
    """
    lock = RunFiles(home, link).lock
    runner = lock.holder()
    if runner is None:
        return False
    for number, patience in ((signal.SIGTERM, timeout), (signal.SIGKILL, 5.0)):
        try:
            os.kill(runner.pid, number)
        except ProcessLookupError:
            return True
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            if lock.holder() != runner:
                return True
            time.sleep(_TICK_S)
    raise StateError(f'the runner of link "{link}" (pid {runner.pid}) does not end', hint="Look at it with `ps`.")


def _absolute_home() -> dict[str, str]:
    """The child works in another folder: a relative KMIRROR_HOME would move."""
    override = os.environ.get("KMIRROR_HOME")
    return {"KMIRROR_HOME": os.path.abspath(override)} if override else {}  # noqa: PTH100  # Path has no pure form


def _last_words(files: RunFiles) -> str:
    text = files.output.read_text(errors="replace").strip()
    lines = [line for line in text.splitlines() if line.strip()]
    errors = [line.removeprefix("Error: ") for line in lines if line.startswith("Error: ")]  # behind them, suggestions
    return (errors or lines or ["no word"])[-1][:_WORDS]
