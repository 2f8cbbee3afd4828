"""Writes the locks anew, for a new version of Kafka: `python -m kmirror.sandbox.relock DOWNLOADS`.

Maven resolves what Kafka's core needs; the lock keeps the answer. DOWNLOADS is a Maven repository cache to fetch into.
"""

import hashlib
import sys
from pathlib import Path
from typing import Any

from jgo.maven import MavenContext

LOCKS = Path(__file__).parent / "locks"
# kafka-clients is named although the core needs it anyway: else the resolver picks an older one from somebody's pom.
CORE = ("kafka_2.13", "kafka-clients")
MIRROR = (*CORE, "kafka-tools", "connect-mirror")
# The logging that each version is shipped with.
LOGGING = {
    "4.3.1": ("org.apache.logging.log4j:log4j-slf4j-impl:2.25.1",),
    "4.0.1": ("org.apache.logging.log4j:log4j-slf4j-impl:2.24.3",),
    "3.9.2": ("ch.qos.reload4j:reload4j:1.2.25", "org.slf4j:slf4j-reload4j:1.7.36"),
    "3.6.2": ("ch.qos.reload4j:reload4j:1.2.25", "org.slf4j:slf4j-reload4j:1.7.36"),
}


def main(downloads: Path) -> None:
    maven = MavenContext(repo_cache=downloads, timeout=60)
    for version in LOGGING:
        core = _resolve(maven, CORE, version)
        _write(version, core)
        if version == "4.3.1":
            mirror = _resolve(maven, MIRROR, version)
            _write(f"{version}-mirror", {name: jar for name, jar in mirror.items() if name not in core})


def _resolve(maven: Any, names: tuple[str, ...], version: str) -> dict[tuple[str, str], Any]:
    """The artifacts that these need, themselves included, by group and name."""
    wanted = [*(f"org.apache.kafka:{name}:{version}" for name in names), *LOGGING[version]]
    root, nodes = maven.resolver.get_dependency_list([maven.create_dependency(one) for one in wanted])
    artifacts = [node.dep.artifact for node in [*root.children, *nodes]]
    return {(artifact.groupId, artifact.artifactId): artifact for artifact in artifacts}


def _write(name: str, artifacts: dict[tuple[str, str], Any]) -> None:
    lines = []
    for artifact in sorted(artifacts.values(), key=str):
        data = Path(artifact.resolve()).read_bytes()
        coordinates = f"{artifact.groupId}:{artifact.artifactId}:{artifact.version}"
        lines.append(f"{hashlib.sha256(data).hexdigest()} {len(data):>8} {coordinates}\n")
    (LOCKS / f"{name}.lock").write_text("".join(lines), "ascii")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
