"""The sandbox: two clusters, "east" and "west", side by side."""

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from kmirror.sandbox.cluster import KafkaCluster
from kmirror.sandbox.runtime import DEFAULT_VERSION, kafka_runtime, silent


class Sandbox:
    """Two real clusters of one broker each. Without a directory they live in a temporary one, which goes with them.

    Making it fetches what is missing; entering it starts both at the same time.
    """

    def __init__(
        self,
        directory: Path | None = None,
        *,
        source_version: str = DEFAULT_VERSION,
        destination_version: str = DEFAULT_VERSION,
        say: Callable[[str], None] = silent,
    ) -> None:
        source = kafka_runtime(source_version, say=say)
        destination = kafka_runtime(destination_version, say=say)
        self._say = say
        self._temporary = Path(tempfile.mkdtemp(prefix="kmirror-sandbox-")) if directory is None else None
        self.directory = directory or self._temporary or Path()
        self.east = KafkaCluster("east", self.directory / "east", source)
        self.west = KafkaCluster("west", self.directory / "west", destination)

    def start(self, timeout: float = 60) -> None:
        """Both at once; nothing is left running when it fails or is interrupted."""
        both = (self.east, self.west)
        self._say(f"Starting Apache Kafka {self.east.runtime.version} (east) and {self.west.runtime.version} (west)")
        try:
            # Every process is started from this thread: their lives are tied to it.
            for cluster in both:
                cluster.prepare()
            for cluster in both:
                cluster.launch(timeout)
            for cluster in both:
                cluster.wait_ready(timeout)
        except BaseException:
            self.stop(timeout=0)
            raise

    def stop(self, timeout: float = 20) -> None:
        """Both at once, and the temporary directory."""
        try:
            for cluster in (self.east, self.west):
                cluster.terminate()
            for cluster in (self.east, self.west):
                cluster.stop(timeout)
        finally:
            if self._temporary is not None:
                shutil.rmtree(self._temporary, ignore_errors=True)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
