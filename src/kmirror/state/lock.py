"""Locks between processes: flock on a file, so that the kernel frees them whatever kills the holder."""

import fcntl
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from kmirror.errors import LinkBusy, StateError
from kmirror.state.ours import check_ours

_WAIT_S = 10.0  # writers of links.toml hold its lock for milliseconds


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Holds the lock file `path`; raises StateError when somebody else keeps it for 10 s."""
    fd = _open(path, os.O_CREAT)
    try:
        deadline = time.monotonic() + _WAIT_S
        while not _take(fd):
            if time.monotonic() > deadline:
                raise StateError(f'"{path}" is locked by another process', hint="Try again in a moment.")
            time.sleep(0.02)
        yield
    finally:
        os.close(fd)


def _open(path: Path, flags: int) -> int:
    """Raises FileNotFoundError where there is nothing to open, StateError for any other reason."""
    check_ours(path)
    try:
        return os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | flags, 0o600)
    except FileNotFoundError:
        raise
    except OSError as e:
        raise StateError(f'cannot open "{path}": {e.strerror}', hint="Check its owner and mode.") from e


def _take(fd: int, *, shared: bool = False) -> bool:
    try:
        fcntl.flock(fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@dataclass(frozen=True, slots=True)
class Runner:
    """Who holds a link's run lock."""

    pid: int
    started_ms: int


class RunLock:
    """The lock that a link's runner keeps for life: alive means locked. The body (JSON) says who it is."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd: int | None = None

    def acquire(self, link: str, body: Mapping[str, Any]) -> None:
        """Raises LinkBusy while another process holds it."""
        fd = _open(self._path, os.O_CREAT)
        # Those who only look take the lock for an instant: one refusal is not yet a runner.
        deadline = time.monotonic() + 0.3
        while not _take(fd):
            if time.monotonic() > deadline:
                os.close(fd)
                runner = self.holder()
                who = f" (pid {runner.pid})" if runner else ""
                raise LinkBusy(
                    f'link "{link}" is already running on this machine{who}',
                    hint=f"Stop it with `kmirror link stop {link}`.",
                )
            time.sleep(0.02)
        os.ftruncate(fd, 0)
        os.pwrite(fd, json.dumps(body).encode(), 0)
        self._fd = fd

    def release(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def holder(self) -> Runner | None:
        """The process that holds the lock now; None when nobody does."""
        try:
            fd = _open(self._path, 0)
        except FileNotFoundError:
            return None
        try:
            # Shared: two who look at once must not take each other for a runner, and the body for a living one's.
            if _take(fd, shared=True):
                return None
            body = json.loads(os.pread(fd, 4096, 0))
            return Runner(body["pid"], body["started_ms"])
        except (ValueError, KeyError, TypeError):
            return None  # caught between taking the lock and writing the body
        finally:
            os.close(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()
