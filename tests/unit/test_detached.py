"""Starting and ending a detached runner: real processes, no cluster."""

import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from kmirror.errors import StateError
from kmirror.model.link import GapFill, Link
from kmirror.model.status import LinkState, LinkStatus
from kmirror.process import detached
from kmirror.process.detached import running, start_runner, stop_runner
from kmirror.state.links import LinkStore
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

KILL = """
import os, signal
from kmirror.ops.link_process import start_link
from kmirror.state.paths import home
runner = start_link(home(), "l").runner
for _ in range(3):
    os.kill(runner.pid, signal.SIGKILL)
    started = start_link(home(), "l")
    again = start_link(home(), "l")
    print(started.already, again.already and started.runner == again.runner != runner)
    runner = started.runner
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


def test_a_runner_is_started_at_once_after_kill_minus_nine(here: Home) -> None:
    """The killed one holds its lock until the kernel has taken it down: it is not taken for a living one."""
    addresses = {"bootstrap.servers": "127.0.0.1:1", "destination.bootstrap.servers": "127.0.0.1:2"}
    link = Link("l", "id", "E", "W", addresses, GapFill.MARKERS, 1)
    LinkStore(here).change(lambda links: links.update(l=link))
    try:
        said = subprocess.run([sys.executable, "-c", KILL], capture_output=True, text=True, timeout=120, check=False)
        assert said.stdout.split() == ["False", "True"] * 3, said
    finally:
        stop_runner(here, "l")


@pytest.mark.parametrize("ending", [False, None, True])
def test_whoever_has_the_lock_and_does_not_say_that_it_lives_is_waited_for(
    here: Home, monkeypatch: pytest.MonkeyPatch, *, ending: bool | None
) -> None:
    files = RunFiles(here, "l")
    files.create()
    process = hold(files, "willing")
    asked = threading.Event()

    def answer(_home: Home, _link: str) -> bool | None:
        asked.set()
        return ending

    monkeypatch.setattr(detached, "is_ending", answer)
    monkeypatch.setattr(detached, "_SILENT_S", 60.0)
    monkeypatch.setattr(detached, "_END_S", 60.0)
    try:
        with ThreadPoolExecutor(1) as pool:
            found = pool.submit(detached.living, here, "l")
            assert asked.wait(20)
            if ending is False:
                assert found.result(20) == running(here, "l")
            else:
                asked.clear()
                assert asked.wait(20), "it goes on to ask"
                process.kill()
                assert found.result(20) is None
    finally:
        process.kill()
        process.wait()


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
