"""A file is replaced whole or not at all, whatever fails and whenever the writer is killed."""

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from kmirror.state.atomic import write_atomic


@pytest.mark.parametrize("durable", [True, False])
def test_replaces_and_keeps_it_private(tmp_path: Path, durable: bool) -> None:
    path = tmp_path / "file"
    for data in (b"one", b"", b"x" * 300_000):
        write_atomic(path, data, durable=durable)
        assert path.read_bytes() == data
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(("owner", "name"), [(os, "fsync"), (Path, "replace"), (tempfile, "mkstemp"), (os, "fdopen")])
def test_a_call_that_fails_leaves_the_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str
) -> None:
    path = tmp_path / "file"
    write_atomic(path, b"old")

    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, fail)
        with pytest.raises(OSError, match="No space"):
            write_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_disk_that_is_full_leaves_the_old(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    code = (
        "import resource, signal, sys; from pathlib import Path; from kmirror.state.atomic import write_atomic\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))\n"
        "write_atomic(Path(sys.argv[1]), b'x' * 1000)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False)
    assert "OSError" in done.stderr
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


KILLED = """
import os, signal, sys
from pathlib import Path
from kmirror.state.atomic import write_atomic
left = int(sys.argv[2])
def step(frame, event, arg):
    global left
    if event in ("line", "return") and frame.f_code.co_filename.endswith("atomic.py"):
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
    return step
sys.settrace(step)
write_atomic(Path(sys.argv[1]), b"new")
sys.settrace(None)
"""


def test_a_kill_at_any_line_leaves_the_old_or_the_new(tmp_path: Path) -> None:
    path = tmp_path / "file"
    seen = []
    for line in range(60):
        path.write_bytes(b"old")
        done = subprocess.run([sys.executable, "-c", KILLED, str(path), str(line)], check=False)
        seen.append(path.read_bytes())
        if done.returncode == 0:
            break
        assert done.returncode == -signal.SIGKILL
    assert done.returncode == 0
    first = seen.index(b"new")
    assert 0 < first < len(seen) - 1
    assert seen == [b"old"] * first + [b"new"] * (len(seen) - first)
