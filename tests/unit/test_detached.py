"""Starting and ending a detached runner: real processes, no cluster."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from kmirror.errors import StateError
from kmirror.model.status import LinkState, LinkStatus
from kmirror.process.detached import running, start_runner, stop_runner
from kmirror.state.paths import Home, home
from kmirror.state.runtime import RunFiles

HOLD = """
import os, signal, sys
from pathlib import Path
from kmirror.state.lock import RunLock
if sys.argv[2] == "deaf":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
lock = RunLock(Path(sys.argv[1]))
lock.acquire("l", {"pid": os.getpid(), "started_ms": 7})
print("held", flush=True)
signal.pause()
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setenv("KMIRROR_HOME", str(tmp_path))
    return home()


def hold(files: RunFiles, kind: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", HOLD, str(files.directory / "lock"), kind]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    assert process.stdout.readline() == "held\n"
    process.stdout.close()
    return process


def test_nothing_runs(here: Home) -> None:
    assert running(here, "l") is None
    assert stop_runner(here, "l") is False


def test_a_runner_that_ends_at_once_is_told_with_its_last_words(here: Home) -> None:
    with pytest.raises(StateError, match='link "l" ended at once') as caught:
        start_runner(here, "l")
    assert "not found" in caught.value.message
    assert "kmirror link run l" in (caught.value.hint or "")
    assert running(here, "l") is None


@pytest.mark.parametrize(("kind", "ended_by"), [("willing", signal.SIGTERM), ("deaf", signal.SIGKILL)])
def test_a_runner_is_found_and_ended(here: Home, kind: str, ended_by: signal.Signals) -> None:
    files = RunFiles(here, "l")
    files.create()
    process = hold(files, kind)
    try:
        runner = running(here, "l")
        assert runner
        assert runner.pid == process.pid
        assert start_runner(here, "l") == runner  # one runs already: no second one is started
        assert stop_runner(here, "l", timeout=0.5 if kind == "deaf" else 20)
        assert process.wait(20) == -ended_by
        assert running(here, "l") is None
        assert not stop_runner(here, "l")
    finally:
        process.kill()
        process.wait()


def test_an_old_status_does_not_pass_for_a_start(here: Home) -> None:
    files = RunFiles(here, "l")
    files.write_status(LinkStatus("l", os.getpid(), 1, 1, LinkState.ACTIVE))
    with pytest.raises(StateError, match="ended at once"):
        start_runner(here, "l")
