"""The mirror's own limits: file descriptors, the disk, a clock that jumps. None of them loses a record."""

import contextlib
import json
import resource
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from kmirror.sandbox import KafkaCluster
from support.kmirror_cli import Kmirror
from support.mirrors import TestLink
from support.short_lived import OwnCluster
from support.traffic import Traffic, create_topic
from support.wait import eventually

DAY_NS = 24 * 3600 * 10**9


@pytest.fixture
def link(kmirror: Kmirror, east: KafkaCluster, west: KafkaCluster) -> TestLink:
    return TestLink(kmirror, east, west).create()


@contextlib.contextmanager
def limited(pid: int, limit: int, most: int) -> Iterator[None]:
    """The soft limit of a process that runs."""
    before = resource.prlimit(pid, limit)
    resource.prlimit(pid, limit, (most, before[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, limit, before)


def descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def test_no_file_descriptor_is_left(
    kmirror: Kmirror, east: KafkaCluster, own_cluster: OwnCluster, topic_name: str
) -> None:
    """Connections that break can't be made anew, nor does the control socket answer: told, and over by itself."""
    destination = own_cluster("narrow")
    link = TestLink(kmirror, east, destination).create()
    create_topic(east.bootstrap_servers, topic_name, 2)
    link.mirror(topic_name)
    with Traffic(east.bootstrap_servers, topic_name, rate=300, size=200) as traffic:
        link.await_beyond(topic_name, dict.fromkeys(range(2), 0))
        pid = link.pid
        with limited(pid, resource.RLIMIT_NOFILE, descriptors(pid) - 2):
            destination.stop_broker()
            destination.start_broker()
            assert link.describe(topic_name), "what was written last"
            eventually(lambda: "Too many open files" in link.log(), 40, "the log tells of it")
        link.await_beyond(topic_name, link.mirror_ends(topic_name))
        traffic.stop()
    link.assert_exact(topic_name, at_least=100)
    assert link.pid == pid, "it was not ended by that"
    link.await_status(topic_name, "ACTIVE")


def test_a_disk_that_is_full(link: TestLink, topic_name: str) -> None:
    """Neither status nor log can be written: the copy goes on, and so do both when there is room again."""
    create_topic(link.source.bootstrap_servers, topic_name, 2)
    link.mirror(topic_name)
    status = link.kmirror.runtime(link.name) / "status.json"
    with Traffic(link.source.bootstrap_servers, topic_name, rate=300, size=200) as traffic:
        link.await_beyond(topic_name, dict.fromkeys(range(2), 0))
        pid = link.pid
        with limited(pid, resource.RLIMIT_FSIZE, 0):
            seen = updated(status)
            link.await_beyond(topic_name, link.mirror_ends(topic_name))
            link.await_beyond(topic_name, link.mirror_ends(topic_name))
            assert updated(status) - seen < 2_000, "there was room after all"
        eventually(lambda: updated(status) > seen + 2_000, 20, "status.json is written again")
        traffic.stop()
    link.assert_exact(topic_name, at_least=100)
    assert link.pid == pid
    link.stop()
    assert "runner ends" in link.log(), "so is the log"


def updated(status: Path) -> int:
    return int(json.loads(status.read_text())["updated_ms"])


def test_verbs_with_a_full_disk_change_nothing(link: TestLink, topic_name: str) -> None:
    """links.toml can't be replaced: the old one stays whole, and the error says what is left behind where."""
    create_topic(link.source.bootstrap_servers, topic_name, 1)
    before = link.kmirror.links_file.read_bytes()
    clusters = (
        *("--source-bootstrap-server", link.source.bootstrap_servers),
        *("--destination-bootstrap-server", link.destination.bootstrap_servers),
    )
    for verb in (("link", "create", "other", *clusters), ("mirror", "create", topic_name, "--link", link.name)):
        done = without_room(link.kmirror, *verb)
        assert done.returncode == 1, done
        assert "Error: " in done.stderr
        assert "links.toml" in done.stderr
        assert "File too large" in done.stderr
        assert "Traceback" not in done.stderr
        assert link.kmirror.links_file.read_bytes() == before
    assert f'Delete topic "{topic_name}"' in done.stderr


def without_room(kmirror: Kmirror, *args: str) -> subprocess.CompletedProcess[str]:
    """A command that can write to no file."""
    line = ["bash", "-c", 'ulimit -f 0; exec "$@"', "bash", sys.executable, "-m", "kmirror", *args]
    return subprocess.run(line, env=kmirror.environment, capture_output=True, text=True, timeout=60, check=False)


JUMPING = textwrap.dedent("""
    import os, time
    path, ns, s = os.environ["KMIRROR_TEST_CLOCK"], time.time_ns, time.time
    def ahead():
        with open(path) as file:
            return int(file.read() or 0)
    time.time_ns = lambda: ns() + ahead()
    time.time = lambda: s() + ahead() / 1e9
""")


@pytest.mark.parametrize("days", [1, -1])
def test_a_clock_that_jumps(tmp_path: Path, east: KafkaCluster, west: KafkaCluster, topic_name: str, days: int) -> None:
    """The runner's wall clock: lag and times are shown by it, and nothing else depends on it."""
    clock = tmp_path / "clock"
    clock.write_text("0")
    (tmp_path / "sitecustomize.py").write_text(JUMPING)
    kmirror = Kmirror(tmp_path / "home", {"PYTHONPATH": str(tmp_path), "KMIRROR_TEST_CLOCK": str(clock)})
    try:
        link = TestLink(kmirror, east, west).create()
        create_topic(east.bootstrap_servers, topic_name, 2)
        link.mirror(topic_name)
        with Traffic(east.bootstrap_servers, topic_name, rate=300, size=200) as traffic:
            link.await_beyond(topic_name, dict.fromkeys(range(2), 0))
            pid = link.pid
            clock.write_text(str(days * DAY_NS))
            for _ in range(3):
                link.await_beyond(topic_name, link.mirror_ends(topic_name))
            rows = link.describe(topic_name)
            assert rows[0]["mirror_status"] == "ACTIVE"
            traffic.stop()
        link.assert_exact(topic_name, at_least=100)
        assert link.pid == pid
        link.await_shown(topic_name, lambda rows: all(row["partition_mirror_lag"] == 0 for row in rows), "has no lag")
    finally:
        assert not kmirror.stop_all()
