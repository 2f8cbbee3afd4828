"""What it takes to run one version of Kafka here: a Java and a class path."""

import hashlib
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from kmirror.errors import SandboxError
from kmirror.sandbox.jars import jars_directory
from kmirror.sandbox.java import find_java
from kmirror.sandbox.lock import read_lock

DEFAULT_VERSION = "4.3.1"
VERSIONS = ("4.3.1", "4.0.1", "3.9.2", "3.6.2")
_WITH_MIRROR = ("4.3.1",)  # the only one whose MirrorMaker 2 we measure against


@dataclass(frozen=True, slots=True)
class KafkaRuntime:
    version: str
    java: Path
    class_path: str
    cache: Path | None = None
    """Where what has to be made once for these jars is kept; None for an unpacked Kafka."""

    @property
    def archive(self) -> Path | None:
        """The archive of a broker's classes that this Java has made of these jars; None where there is none.

        Its size is in its name: Java crashes by one whose end is missing (a full disk, a lost power supply).
        """
        if self.cache is None:
            return None
        for path in self.cache.glob(f"{self.archive_stem}-*.jsa"):
            with suppress(FileNotFoundError):
                if path.stem == f"{self.archive_stem}-{path.stat().st_size}":
                    return path
        return None

    @property
    def archive_stem(self) -> str:
        """What the name of the archive begins with: it is of one Java."""
        java = self.java.resolve()
        stat = java.stat()
        known = f"{java} {stat.st_size} {stat.st_mtime_ns}"
        return f"broker-{hashlib.sha256(known.encode()).hexdigest()[:8]}"


def silent(_line: str) -> None:
    """The `say` of callers that show no progress."""


def kafka_runtime(
    version: str = DEFAULT_VERSION, *, connect_mirror: bool = False, say: Callable[[str], None] = silent
) -> KafkaRuntime:
    """Finds or fetches Java and Kafka's jars; `connect_mirror` adds MirrorMaker 2.

    KMIRROR_KAFKA_HOME, an unpacked Kafka, takes the place of the jars whatever `version` says.
    """
    home = os.environ.get("KMIRROR_KAFKA_HOME")
    if home:
        return _unpacked(Path(home))
    known = _WITH_MIRROR if connect_mirror else VERSIONS
    if version not in known:
        what = "MirrorMaker 2" if connect_mirror else "Apache Kafka"
        raise SandboxError(
            f'the sandbox has no {what} "{version}"',
            hint=f"It has {' and '.join(known)}; KMIRROR_KAFKA_HOME can point to any unpacked Kafka.",
        )
    names = [version, f"{version}-mirror"] if connect_mirror else [version]
    java = find_java()
    places = [jars_directory(read_lock(name), say) for name in names]
    cache = places[-1].with_name(f"{places[-1].name}.made")
    return KafkaRuntime(version, java, os.pathsep.join(f"{place}/*" for place in places), cache)


def _unpacked(home: Path) -> KafkaRuntime:
    clients = sorted((home / "libs").glob("kafka-clients-*.jar"))
    if not clients:
        raise SandboxError(
            f'KMIRROR_KAFKA_HOME "{home}" has no libs/kafka-clients-*.jar',
            hint="Point it to the folder that Kafka's archive unpacks to, or unset it.",
        )
    version = clients[0].stem.removeprefix("kafka-clients-")
    return KafkaRuntime(version, find_java(), f"{home.absolute()}/libs/*")
