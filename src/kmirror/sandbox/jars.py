"""Kafka's jars: fetched once from the Maven repositories that jgo is configured for, checked, kept in the user's cache.

They are fetched into a temporary directory beside their place, checked against the lock and renamed as a whole: whoever
finds the directory finds all of it, whatever was interrupted before.
"""

import fcntl
import os
import shutil
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from platformdirs import user_cache_path

from kmirror.errors import SandboxError
from kmirror.sandbox.lock import Lock, LockedJar, check_jar, verify

Say = Callable[[str], None]
_ATTEMPTS = 4
_TIMEOUT_S = 30
_CONNECTIONS = 6


def jars_directory(lock: Lock, say: Say) -> Path:
    """The directory with the checked jars of `lock`; fetches them when this user has never needed them."""
    cache = user_cache_path("kmirror") / "kafka"
    # The digest keeps apart the sets of two kmirror releases: jars must not change under a broker that runs.
    place = cache / f"{lock.name}-{lock.digest}"
    if not place.is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        with _only_one(cache / ".fetching", say):
            if not place.is_dir():
                _fetch_all(lock, place, say)
    verify(lock, place)
    return place


@contextmanager
def _only_one(path: Path, say: Say) -> Iterator[None]:
    """Keeps other processes of this user from fetching the same; the kernel frees the lock of one that dies."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("Another process is fetching Apache Kafka: waiting for it.")
            fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _fetch_all(lock: Lock, place: Path, say: Say) -> None:
    for left in place.parent.glob(f".{place.name}.*"):  # of one that was killed: we hold the lock, so nobody uses it
        shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=f".{place.name}.", dir=place.parent, ignore_cleanup_errors=True) as work:
        jars = Path(work) / "jars"
        jars.mkdir()
        fetch = _Fetch(lock, Path(work) / "repository", jars, say)
        fetch.run()
        verify(lock, jars)
        jars.rename(place)


class _Fetch:
    """One download of all jars of a lock, several at a time, that Ctrl-C ends at once."""

    def __init__(self, lock: Lock, repository: Path, jars: Path, say: Say) -> None:
        self._lock = lock
        self._jars = jars
        self._say = say
        # The largest first: otherwise one of them is left alone at the end.
        self._todo = deque(sorted(lock.jars, key=lambda jar: -jar.size))
        self._done: SimpleQueue[Exception | None] = SimpleQueue()
        self._bytes = 0
        self._given_up = threading.Event()
        self._context = _maven(repository, self._progress)

    def run(self) -> None:
        # Daemons, and no pool: a pool's threads hold up the end of the process until the network has answered them.
        for _ in range(_CONNECTIONS):
            threading.Thread(target=self._work, name="kmirror-fetch", daemon=True).start()
        fetched = 0
        said = 0.0
        try:
            while fetched < len(self._lock.jars):
                if time.monotonic() - said > 1:
                    said = time.monotonic()
                    self._tell(fetched)
                with suppress(Empty):
                    failure = self._done.get(timeout=0.5)
                    if failure is not None:
                        raise failure
                    fetched += 1
        finally:
            self._given_up.set()
        self._tell(fetched)

    def _tell(self, fetched: int) -> None:
        megabytes = f"{self._bytes / 1e6:.0f} of {self._lock.size / 1e6:.0f} MB"
        self._say(f"Fetching Apache Kafka {self._lock.name} ({megabytes}) ... {fetched} of {len(self._lock.jars)} jars")

    def _work(self) -> None:
        while not self._given_up.is_set():
            try:
                jar = self._todo.popleft()
            except IndexError:
                return
            try:
                self._one(jar)
            except Exception as e:  # raised again by `run`
                self._done.put(e)
                return
            self._done.put(None)

    @contextmanager
    def _progress(self, _name: str, _size: int) -> Iterator[Callable[[int], None]]:
        """Jgo calls what this yields after each chunk: the place where a download can be given up."""

        def chunk(size: int) -> None:
            self._bytes += size  # for show: a count that two threads lose hurts nobody
            if self._given_up.is_set():
                raise InterruptedError

        yield chunk

    def _one(self, jar: LockedJar) -> None:
        artifact = self._context.project(jar.group, jar.artifact).at_version(jar.version).artifact()
        target = self._jars / jar.file_name
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                Path(artifact.resolve()).rename(target)
                break
            except Exception as e:  # requests', jgo's and the system's: all mean that this attempt failed
                if attempt == _ATTEMPTS or self._given_up.wait(0.5 * attempt):
                    raise SandboxError(
                        f'cannot fetch "{jar.file_name}": {_root(e)}',
                        hint="Check the network. Another Maven repository can be named in the [repositories] section "
                        "of jgo's settings (~/.config/jgo.conf).",
                    ) from e
                Path(artifact.cached_path).unlink(missing_ok=True)  # half a file would be taken for the whole
        check_jar(jar, target, hint="The repository served another file than the one kmirror was built with.")


def _root(error: BaseException) -> str:
    """What happened at the bottom, in one line: HTTP libraries wrap "connection refused" three times."""
    while (below := error.__cause__ or error.__context__) is not None:
        error = below
    return " ".join(str(error).split()) or type(error).__name__


def _maven(repository: Path, progress: Callable[..., Any]) -> Any:
    """Jgo's view of Maven: the repositories of the user's jgo settings first, then its own default."""
    try:
        from jgo.config import GlobalSettings
        from jgo.maven import MavenContext, PythonResolver
    except ImportError as e:
        raise SandboxError(
            "the package `jgo`, which fetches Apache Kafka, is not installed",
            hint="Install it with `pip install 'kmirror[sandbox]'`, or set KMIRROR_KAFKA_HOME to an unpacked Kafka.",
        ) from e
    remote = dict(GlobalSettings.load().repositories)
    for name, url in MavenContext().remote_repos.items():
        remote.setdefault(name, url)
    resolver = PythonResolver(progress_callback=progress)
    return MavenContext(resolver, repo_cache=repository, remote_repos=remote, timeout=_TIMEOUT_S)
