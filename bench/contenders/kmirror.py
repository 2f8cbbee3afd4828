"""kmirror as a user gets it: the verbs make link and mirror, and `kmirror link run` is what is measured."""

import os
import subprocess
import sys

from bench.contenders.job import Command, Job
from kmirror.sandbox import KafkaCluster

_LINK = "bench"


def prepare(job: Job) -> Command:
    environment = {"KMIRROR_HOME": str(job.directory / "home"), "NO_COLOR": "1"}
    if job.sources:
        environment["PYTHONPATH"] = str(job.sources)
    stage = job.stage
    servers = (
        *("--source-bootstrap-server", _servers(stage.source)),
        *("--destination-bootstrap-server", _servers(stage.destination)),
    )
    _kmirror(environment, "link", "create", _LINK, *servers)
    _kmirror(environment, "mirror", "create", job.topic, "--link", _LINK, "--no-start")
    stage.await_logs(stage.destination, job.topic, job.partitions)
    start = [sys.executable, "-m", "kmirror"]
    if job.profile:
        start = [sys.executable, "-m", "bench.profiling", job.profile, str(job.directory / "profile")]
    workers = ["--workers", str(job.workers)] if job.workers > 1 else []  # trees of before don't know it
    return Command([*start, "link", "run", _LINK, *workers], environment)


def _servers(cluster: KafkaCluster) -> str:
    """Through the relay, of a cluster that has one before it (bench.delay)."""
    return getattr(cluster, "proxied_servers", cluster.bootstrap_servers)


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
