"""The lock of a set of jars: which artifacts make up a Kafka, and the SHA-256 that each must have.

A line of `locks/<name>.lock` is `sha256 bytes group:artifact:version`. The list is complete (transitive dependencies
included), so that nothing has to be resolved on the user's machine, and two machines never run different Kafkas.
"""

import hashlib
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from kmirror.errors import SandboxError


@dataclass(frozen=True, slots=True)
class LockedJar:
    sha256: str
    size: int
    group: str
    artifact: str
    version: str

    @property
    def file_name(self) -> str:
        return f"{self.artifact}-{self.version}.jar"


@dataclass(frozen=True, slots=True)
class Lock:
    """All jars of one set; `digest` changes when any line does."""

    name: str
    digest: str
    jars: tuple[LockedJar, ...]

    @property
    def size(self) -> int:
        return sum(jar.size for jar in self.jars)


def read_lock(name: str) -> Lock:
    """The committed lock `name`: a Kafka version, or one with "-mirror" for the jars that MirrorMaker 2 adds."""
    return parse_lock(name, resources.files("kmirror.sandbox").joinpath("locks", f"{name}.lock").read_text("ascii"))


def parse_lock(name: str, text: str) -> Lock:
    jars = []
    for line in text.splitlines():
        sha256, size, coordinates = line.split()
        group, artifact, version = coordinates.split(":")
        jars.append(LockedJar(sha256, int(size), group, artifact, version))
    return Lock(name, hashlib.sha256(text.encode()).hexdigest()[:8], tuple(jars))


def verify(lock: Lock, directory: Path) -> None:
    """Raises SandboxError unless `directory` holds exactly what the lock says: no jar missing, changed or added."""
    again = f'Remove the directory "{directory}" and try again: it is fetched anew.'
    for jar in lock.jars:
        check_jar(jar, directory / jar.file_name, hint=again)
    added = {path.name for path in directory.iterdir()} - {jar.file_name for jar in lock.jars}
    if added:
        raise SandboxError(f'"{min(added)}" in "{directory}" is not in the lock of Kafka {lock.name}', hint=again)


def check_jar(jar: LockedJar, path: Path, *, hint: str) -> None:
    """Raises SandboxError that names the jar when it is missing or its SHA-256 is not the locked one."""
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError as e:
        raise SandboxError(f'"{jar.file_name}" is missing in "{path.parent}"', hint=hint) from e
    if found != jar.sha256:
        raise SandboxError(f'"{jar.file_name}" has SHA-256 {found}, the lock says {jar.sha256}', hint=hint)
