"""kmirror as a user gets it: the verbs make link and mirror, and `kmirror link run` is what is measured."""

import os
import subprocess
import sys

from bench.contenders.job import Command, Job

_LINK = "bench"


def prepare(job: Job) -> Command:
    environment = {"KMIRROR_HOME": str(job.directory / "home"), "NO_COLOR": "1"}
    stage = job.stage
    servers = (
        *("--source-bootstrap-server", stage.source.bootstrap_servers),
        *("--destination-bootstrap-server", stage.destination.bootstrap_servers),
    )
    _kmirror(environment, "link", "create", _LINK, *servers)
    _kmirror(environment, "mirror", "create", job.topic, "--link", _LINK, "--no-start")
    start = [sys.executable, "-m", "kmirror"]
    if job.profile:
        start = [sys.executable, "-m", "bench.profiling", job.profile, str(job.directory / "profile")]
    return Command([*start, "link", "run", _LINK], environment)


def _kmirror(environment: dict[str, str], *arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "kmirror", *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"`kmirror {' '.join(arguments)}` failed: {done.stdout}{done.stderr}")
