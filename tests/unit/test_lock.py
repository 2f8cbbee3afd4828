"""Locks between real processes: one holder, seen by many, freed by kill -9."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kmirror.errors import LinkBusy, StateError
from kmirror.state import lock as lock_module
from kmirror.state.lock import RunLock, Runner, exclusive

HOLD = """
import os, sys, time
from pathlib import Path
from kmirror.state.lock import RunLock
lock = RunLock(Path(sys.argv[1]))
lock.acquire("l", {"pid": os.getpid(), "started_ms": 7})
print("held", flush=True)
sys.stdin.read()
"""
LOOK = """
import sys
from pathlib import Path
from kmirror.state.lock import RunLock
lock = RunLock(Path(sys.argv[1]))
print(len({lock.holder() for _ in range(3000)}), lock.holder())
"""


@contextmanager
def held(path: Path) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    try:
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def test_one_holder_and_it_is_named(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    assert RunLock(path).holder() is None
    assert not path.exists()
    with held(path) as process:
        assert RunLock(path).holder() == Runner(process.pid, 7)
        with pytest.raises(LinkBusy, match=rf'"orders" is already running .*pid {process.pid}') as caught:
            RunLock(path).acquire("orders", {})
        assert "kmirror link stop orders" in (caught.value.hint or "")
        process.send_signal(signal.SIGSTOP)
        assert RunLock(path).holder() == Runner(process.pid, 7)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert RunLock(path).holder() is None
    with RunLock(path) as mine:
        mine.acquire("l", {"pid": os.getpid(), "started_ms": 8})
        assert mine.holder() == Runner(os.getpid(), 8)
    assert RunLock(path).holder() is None


def test_a_lock_that_is_free_looks_free_to_many(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with held(path):
        pass  # killed: the body still names it
    assert path.read_bytes()
    looking = [subprocess.Popen([sys.executable, "-c", LOOK, str(path)], stdout=subprocess.PIPE) for _ in range(3)]
    assert [process.communicate(timeout=60)[0] for process in looking] == [b"1 None\n"] * 3


def test_those_who_look_keep_nobody_from_taking_it(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    over = threading.Event()
    path.touch()

    def look() -> None:
        while not over.is_set():
            RunLock(path).holder()

    threads = [threading.Thread(target=look) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for i in range(10):
            with RunLock(path) as mine:
                mine.acquire("l", {"pid": 1, "started_ms": i})
                assert RunLock(path).holder() == Runner(1, i)
    finally:
        over.set()
        for thread in threads:
            thread.join()


@pytest.mark.parametrize("body", [b"", b"{", b"{}", b"null", b"7", b"[]", b'"x"', b"\xff"])
def test_a_body_that_says_nothing(tmp_path: Path, body: bytes) -> None:
    path = tmp_path / "lock"
    with held(path):
        path.write_bytes(body)
        assert RunLock(path).holder() is None
        with pytest.raises(LinkBusy):
            RunLock(path).acquire("l", {})


def test_a_lock_that_cannot_be_opened(tmp_path: Path) -> None:
    (tmp_path / "lock").mkdir()
    for act in (RunLock(tmp_path / "lock").holder, lambda: RunLock(tmp_path / "lock").acquire("l", {})):
        with pytest.raises(StateError, match="cannot open"):
            act()


def test_exclusive_waits_for_its_turn_and_gives_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock_module, "_WAIT_S", 0.1)
    path = tmp_path / "lock"
    with exclusive(path), pytest.raises(StateError, match="locked by another process"), exclusive(path):
        pass
    with exclusive(path):
        assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(KeyError), exclusive(path):
        raise KeyError
    with exclusive(path):
        pass
