"""One broker: its folder, and its process."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from kmirror.errors import SandboxError
from kmirror.sandbox import leash
from kmirror.sandbox.formatted import META, format_from, keep_beginning
from kmirror.sandbox.ports import HOST
from kmirror.sandbox.probe import known_brokers
from kmirror.sandbox.runtime import KafkaRuntime
from kmirror.sandbox.settings import LOG4J, LOG4J2, Node, render_properties

QUICK_START = ("-XX:TieredStopAtLevel=1", "-Xshare:auto")
"""For Java: a broker is up after half the work, and later does more for each byte than one that optimises fully."""
_PORT_TAKEN = "Address already in use"
_RELAUNCHES = 5


class Broker:
    """A combined KRaft broker and controller in `directory`; `label` is how errors call it."""

    def __init__(
        self, label: str, node: Node, directory: Path, runtime: KafkaRuntime, java_options: Sequence[str] = QUICK_START
    ) -> None:
        self.node = node
        self.log = directory / "broker.log"
        self.data = directory / "data"
        self._label = label
        self._directory = directory
        self._runtime = runtime
        self._java_options = java_options
        self._process: subprocess.Popen[bytes] | None = None
        self._formatter: subprocess.Popen[bytes] | None = None
        self._keep_in: Path | None = None
        self._relaunches = 0
        self._log_start = 0

    def configure(self, properties: Mapping[str, str]) -> None:
        self._directory.mkdir(parents=True, exist_ok=True)
        (self._directory / "server.properties").write_text(render_properties(properties), "utf-8")
        (self._directory / "log4j2.properties").write_text(LOG4J2, "ascii")
        (self._directory / "log4j.properties").write_text(LOG4J, "ascii")

    @property
    def formatted(self) -> bool:
        return (self.data / META).exists()

    @property
    def started(self) -> bool:
        """Should be running: started, and not stopped or killed by us since."""
        return self._process is not None

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None and self.running else None

    def begin_format(self, cluster_id: str, options: Sequence[str] = ()) -> None:
        """Starts Kafka's own formatter where it is needed; `finish_format` waits for it."""
        cache = None if options else self._runtime.cache
        if cache is not None and format_from(cache, self.data, cluster_id, self.node.id):
            return
        self._keep_in = cache
        tool = ["kafka.tools.StorageTool", "format", "-t", cluster_id, "-c", str(self._directory / "server.properties")]
        self._formatter = self._spawn(QUICK_START, [*tool, *options])

    def finish_format(self, timeout: float) -> None:
        """Does nothing when nothing had to be formatted."""
        if self._formatter is None:
            return
        try:
            code = self._formatter.wait(timeout)
        except subprocess.TimeoutExpired as e:
            raise self.failure(f"was not formatted within {timeout:.0f} s") from e
        self._formatter = None
        if code != 0:
            raise self.failure(f"could not be formatted (exit {code})")
        if self._keep_in is not None:
            keep_beginning(self.data, self._keep_in)

    def launch(self) -> None:
        if self.running:
            return
        self._relaunches = 0
        self._launch()

    def _launch(self) -> None:
        command = ["kafka.Kafka", str(self._directory / "server.properties")]
        archive = self._runtime.archive
        archived = [f"-XX:SharedArchiveFile={archive}"] if archive else []
        self._process = self._spawn(["-Xmx768m", *archived, *self._java_options], command)

    def sees(self) -> frozenset[int]:
        """The brokers that this one knows; none while it does not answer. Raises SandboxError when it has died."""
        if not self.running:
            if _PORT_TAKEN not in self._new_log() or self._relaunches == _RELAUNCHES:
                raise self.failure("ended while it started")
            # Somebody had its port for a moment, a probe for free ports for one: everybody knows our address already.
            self._relaunches += 1
            time.sleep(0.5)
            self._launch()
        try:
            return known_brokers(HOST, self.node.port)
        except (OSError, ValueError):
            return frozenset()

    def signal(self, number: signal.Signals) -> None:
        if self._process is not None and self.running:
            self._process.send_signal(number)

    def wait(self, timeout: float) -> None:
        """Waits for the end, then insists."""
        if self._formatter is not None:  # half a format is worth nothing
            self._formatter.kill()
            self._formatter.wait()
            self._formatter = None
        if self._process is None:
            return
        try:
            self._process.wait(max(0.0, timeout))
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def _spawn(self, options: Sequence[str], command: list[str]) -> subprocess.Popen[bytes]:
        logging = [
            f"-Dlog4j2.configurationFile={self._directory / 'log4j2.properties'}",
            f"-Dlog4j.configuration={(self._directory / 'log4j.properties').as_uri()}",
        ]
        java = [str(self._runtime.java), *options, "-XX:+UseSerialGC", *logging, "-cp", self._runtime.class_path]
        with self.log.open("ab") as log:
            self._log_start = log.tell()
            # A session of its own: Ctrl-C in the terminal must not reach the brokers before those who talk to them.
            return subprocess.Popen(
                [sys.executable, "-I", "-S", leash.__file__, str(os.getpid()), *java, *command],
                cwd=self._directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _new_log(self) -> str:
        """What the process that was started last has logged."""
        with self.log.open("rb") as log:
            log.seek(self._log_start)
            return log.read().decode("utf-8", "replace")

    def failure(self, what: str) -> SandboxError:
        return SandboxError(f"{self._label} {what}: {cause(self._new_log())}", hint=f'Its log is "{self.log}".')


def cause(log: str) -> str:
    """The lines of a log that most likely say why its process ended: the last errors, else simply the last."""
    lines = [line.strip() for line in log.splitlines() if line.strip() and not line.startswith("\tat ")]
    telling = [
        line for line in lines if " ERROR " in line or " FATAL " in line or "Exception" in line or "Error:" in line
    ]
    return " | ".join((telling or lines)[-3:]) or "it logged nothing"
