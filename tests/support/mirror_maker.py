"""MirrorMaker 2 beside a test, in dedicated mode as connect-mirror-maker.sh starts it: kmirror is compared with it."""

import subprocess
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from kmirror.sandbox import KafkaCluster, kafka_runtime
from kmirror.sandbox.broker import QUICK_START

_CLASS = "org.apache.kafka.connect.mirror.MirrorMaker"
_JVM = ("-Xms128M", "-Xmx512M", "-XX:+UseSerialGC", "-Djava.awt.headless=true", *QUICK_START)
_LOG = """\
rootLogger.level=WARN
rootLogger.appenderRef.a.ref=A
appender.a.type=Console
appender.a.name=A
appender.a.layout.type=PatternLayout
appender.a.layout.pattern=%d %p %m (%c)%n
"""
_INTERNAL = ("checkpoints.topic", "heartbeats.topic", "offset-syncs.topic", "offset.storage", "status.storage")


class MirrorMaker:
    """Copies `topics` (a regular expression) from `source` to `destination`, names kept. `with` starts and ends it.

    `properties` are added to its file, or take the place of what is there.
    """

    def __init__(
        self,
        directory: Path,
        source: KafkaCluster,
        destination: KafkaCluster,
        topics: str,
        properties: Mapping[str, str] | None = None,
        *,
        version: str = "4.3.1",
    ) -> None:
        self._directory = directory
        self._runtime = kafka_runtime(version, connect_mirror=True)
        self._process: subprocess.Popen[bytes] | None = None
        # Its group, its internal topics and so its position are named after the aliases: new ones begin anew.
        run = uuid.uuid4().hex[:6]
        self._source, self._destination = f"east{run}", f"west{run}"
        self._properties = {
            "clusters": f"{self._source}, {self._destination}",
            f"{self._source}.bootstrap.servers": source.bootstrap_servers,
            f"{self._destination}.bootstrap.servers": destination.bootstrap_servers,
            f"{self._source}->{self._destination}.enabled": "true",
            f"{self._source}->{self._destination}.topics": topics,
            f"{self._destination}->{self._source}.enabled": "false",
            "replication.policy.class": "org.apache.kafka.connect.mirror.IdentityReplicationPolicy",
            "replication.factor": "1",
            "config.storage.replication.factor": "1",
            **{f"{name}.replication.factor": "1" for name in _INTERNAL},
            "emit.heartbeats.enabled": "false",
            f"{self._source}.consumer.auto.offset.reset": "earliest",
            **(properties or {}),
        }

    def __enter__(self) -> Self:
        self._directory.mkdir(parents=True, exist_ok=True)
        settings = self._directory / "mm2.properties"
        settings.write_text("".join(f"{key} = {value}\n" for key, value in self._properties.items()), "utf-8")
        log = self._directory / "log4j2.properties"
        log.write_text(_LOG, "ascii")
        options = [*_JVM, f"-Dlog4j2.configurationFile={log}", "-cp", self._runtime.class_path]
        with (self._directory / "mm2.log").open("wb") as output:
            self._process = subprocess.Popen(
                [str(self._runtime.java), *options, _CLASS, str(settings)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Ends it in order, as an operator would before consumers move over."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def copy_of(self, topic: str) -> str:
        """What its default policy calls the copy."""
        return f"{self._source}.{topic}"

    @property
    def pid(self) -> int:
        assert self._process is not None, "MirrorMaker 2 does not run"
        return self._process.pid

    def kill(self) -> None:
        """SIGKILL; `with` starts it again, where it was."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        self._process = None

    def log(self) -> str:
        text = (self._directory / "mm2.log").read_text("utf-8", "replace")
        return f"--- mm2.log ---\n{text[-3000:]}"
