"""Clusters that all workers of a run use: the controller of pytest-xdist runs them, the workers ask it for them.

The first who asks for one has it started; what is told is where it is. It ends with the run. Whoever stops or freezes
a broker, sets quotas for everybody or deletes what is not its own needs a cluster of its own.
"""

import json
import shutil
import socket
import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Self

from kmirror.sandbox import KafkaCluster, KafkaRuntime, kafka_runtime
from kmirror.sandbox.archive import make_archive

START_S = 120
_Make = Callable[[str, Path], KafkaCluster]


class SharedCluster(KafkaCluster):
    """One that another process runs: it can be reached, and its folder read."""

    def __init__(self, name: str, runtime: KafkaRuntime, directory: Path, bootstrap_servers: str) -> None:
        self.name = name
        self.runtime = runtime
        self.directory = directory
        self.bootstrap_servers = bootstrap_servers
        self._brokers = []


class Host:
    """Runs the clusters, and answers on a Unix socket. `make` gives one of a name in a folder, not yet started."""

    def __init__(self, make: _Make) -> None:
        self._make = make
        self._folder = Path(tempfile.mkdtemp(prefix="kmshared-"))
        self.address = str(self._folder / "socket")
        self._clusters: dict[str, Future[KafkaCluster]] = {}
        self._threads: list[threading.Thread] = []
        self._known = threading.Lock()
        self._over = threading.Event()
        self._server = socket.socket(socket.AF_UNIX)

    def __enter__(self) -> Self:
        self._server.bind(self.address)
        self._server.listen(32)
        threading.Thread(target=self._serve, name="shared clusters", daemon=True).start()
        # The brokers of this run that start later start faster.
        self._threads.append(threading.Thread(target=make_archive, args=(kafka_runtime(),), daemon=True))
        self._threads[0].start()
        return self

    def close(self, *, keep_logs: bool) -> None:
        """Ends all clusters, side by side."""
        self._over.set()
        for thread in self._threads:
            thread.join(60)
        self._server.close()
        if keep_logs:
            Path(self.address).unlink()
        else:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _serve(self) -> None:
        while True:
            try:
                asker, _ = self._server.accept()
            except OSError:
                return  # closed
            threading.Thread(target=self._answer, args=(asker,), daemon=True).start()

    def _answer(self, asker: socket.socket) -> None:
        with asker, asker.makefile("rw") as lines:
            name = lines.readline().strip()
            try:
                cluster = self._started(name).result(START_S)
                told = {"directory": str(cluster.directory), "bootstrap_servers": cluster.bootstrap_servers}
            except Exception as error:
                told = {"error": f"{type(error).__name__}: {error}"}
            with suppress(OSError):  # a worker that is gone
                lines.write(json.dumps(told) + "\n")
                lines.flush()

    def _started(self, name: str) -> Future[KafkaCluster]:
        with self._known:
            if name not in self._clusters:
                self._clusters[name] = Future()
                # A thread for its life: the kernel ends its brokers with the thread that started them (leash).
                thread = threading.Thread(target=self._live, args=(name, self._clusters[name]), daemon=True)
                self._threads.append(thread)
                thread.start()
            return self._clusters[name]

    def _live(self, name: str, told: "Future[KafkaCluster]") -> None:
        with ExitStack() as stack:
            try:
                cluster = stack.enter_context(self._make(name, self._folder / name))
            except Exception as error:
                told.set_exception(error)
                return
            told.set_result(cluster)
            self._over.wait()


def ask(address: str, name: str, runtime: KafkaRuntime) -> SharedCluster:
    """A cluster of the host at `address`; waits until it has started."""
    with socket.socket(socket.AF_UNIX) as asking:
        asking.settimeout(START_S + 10)
        asking.connect(address)
        with asking.makefile("rw") as lines:
            lines.write(name + "\n")
            lines.flush()
            told: dict[str, Any] = json.loads(lines.readline())
    if "error" in told:
        raise RuntimeError(f'the shared cluster "{name}" did not start: {told["error"]}')
    return SharedCluster(name, runtime, Path(told["directory"]), told["bootstrap_servers"])
