"""Which processes are ours: found in /proc by an environment variable that children inherit.

A detached process has no parent to ask, but it keeps the environment that it was started with.
"""

import os
import signal
from dataclasses import dataclass
from pathlib import Path

from support.wait import eventually

SESSION_VARIABLE = "KMIRROR_TEST_SESSION"
"""Set once a test run; everything that the run starts, and what that starts, carries it."""


@dataclass(frozen=True, slots=True)
class Process:
    pid: int
    command: str

    def __str__(self) -> str:
        return f"{self.pid}: {self.command[:300]}"

    def alive(self) -> bool:
        return alive(self.pid)

    def kill(self) -> None:
        try:
            os.kill(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            return


def alive(pid: int) -> bool:
    """Running, and no zombie that only waits for its parent."""
    try:
        return _state(pid) not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def parent_of(pid: int) -> int | None:
    """None where it has ended."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return None


def freeze(pid: int) -> None:
    """SIGSTOP; returns when all of its threads stand still."""
    os.kill(pid, signal.SIGSTOP)
    eventually(lambda: {_state(int(task.name)) for task in Path(f"/proc/{pid}/task").iterdir()} == {"T"}, 30)


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def with_environment(name: str, value: str) -> list[Process]:
    """All live processes but this one that were started with this variable."""
    wanted = f"{name}={value}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            environment = (entry / "environ").read_bytes().split(b"\0")
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
        if wanted in environment and alive(int(entry.name)):
            found.append(Process(int(entry.name), command))
    return sorted(found, key=lambda process: process.pid)
