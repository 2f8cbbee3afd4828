"""What protects a marker, which has no sequence: each rule with a test that breaks exactly that.

The link reaches the destination through a proxy that knows marker requests; the source gets its gaps by hand.
"""

import json
import os
import random
import re
import shutil
import signal
import time

import pytest

from kmirror.sandbox import KafkaCluster
from support.kmirror_cli import Kmirror
from support.mirrors import TestLink
from support.proxy import Fault, ProxiedCluster
from support.raw import write_markers
from support.traffic import Record, create_topic, produce
from support.wait import eventually

RESUMED_S = 15
"""How soon the copy goes on once the network is back."""
SUPERSEDED = 5
"""The exit code of a runner that gives the link up to a younger one."""


@pytest.fixture(scope="module")
def link(module_home: Kmirror, east: KafkaCluster, proxied: ProxiedCluster) -> TestLink:
    """One link for all tests that leave its runner alone."""
    return TestLink(module_home, east, proxied, "proxied").create()


def gap(link: TestLink, topic: str, count: int, *, partition: int = 0, before: int = 3, after: int = 3) -> None:
    """Records, `count` offsets that hold nothing visible, and records."""
    at = link.source.bootstrap_servers
    produce(at, topic, [Record(b"k", b"before")] * before, partition=partition)
    for some in [5_000] * (count // 5_000) + [count % 5_000]:
        if some:
            assert write_markers(at, topic, some, partition=partition) == 0
    produce(at, topic, [Record(b"k", b"after")] * after, partition=partition)


@pytest.fixture
def mirrored(link: TestLink, topic_name: str) -> str:
    """A mirror of two partitions that has some records already."""
    create_topic(link.source.bootstrap_servers, topic_name, 2)
    for partition in range(2):
        produce(link.source.bootstrap_servers, topic_name, [Record(b"k", b"v")] * 5, partition=partition)
    link.mirror(topic_name)
    link.await_caught_up(topic_name)
    return topic_name


def test_gaps_of_one_and_of_many(link: TestLink, mirrored: str) -> None:
    for partition, counts in enumerate(((1, 2, 3, 1), (12_001, 1, 5_001))):
        for count in counts:
            gap(link, mirrored, count, partition=partition)
    link.assert_exact(mirrored, at_least=10 + 6 * 7)


@pytest.mark.parametrize("count", [1, 3_000])
@pytest.mark.parametrize(
    "fault",
    [
        pytest.param({"share": 0.0}, id="before-it"),
        pytest.param({"share": 0.6}, id="in-the-middle"),
        pytest.param({"share": 1.0}, id="behind-it"),
        pytest.param({"answer": True, "share": 0.0}, id="before-its-answer"),
        pytest.param({"answer": True, "share": 0.5}, id="in-its-answer"),
    ],
)
def test_a_connection_that_is_cut(
    link: TestLink, proxied: ProxiedCluster, mirrored: str, fault: dict[str, float], count: int
) -> None:
    """The markers may have landed, or some, or none: the log end tells, after it has settled."""
    met = proxied.proxy.arm(Fault(**fault)).met
    gap(link, mirrored, count)
    assert met.wait(30)
    link.assert_exact(mirrored, at_least=16)
    link.await_status(mirrored, "ACTIVE")


@pytest.mark.parametrize(("late_s", "count"), [(0.3, 2), (6.0, 1), (6.0, 3_000)])
def test_bytes_that_arrive_late(
    link: TestLink, proxied: ProxiedCluster, mirrored: str, late_s: float, count: int
) -> None:
    """Within the time that is waited for, and long after the gap was filled anew: a newer token keeps them out."""
    fault = proxied.proxy.arm(Fault(late_s=late_s))
    gap(link, mirrored, count)
    assert fault.met.wait(30)
    link.await_caught_up(mirrored)
    gap(link, mirrored, 2)
    link.assert_exact(mirrored, at_least=22)
    link.await_status(mirrored, "ACTIVE")


def test_a_broker_frozen_with_the_request_in_its_socket(link: TestLink, proxied: ProxiedCluster, mirrored: str) -> None:
    """It is waited for: nothing is sent anew meanwhile, on this connection or another."""
    tokens = run_token(link.kmirror, link.name)
    fault = proxied.proxy.arm(Fault(cut=False, before=proxied.suspend))
    try:
        gap(link, mirrored, 500)
        assert fault.met.wait(30)
        time.sleep(12)  # longer than the lease, a takeover and the connect timeout: the time is the case
    finally:
        proxied.resume()
    link.assert_exact(mirrored, at_least=16)
    assert run_token(link.kmirror, link.name) - tokens <= 2


@pytest.mark.parametrize("answer", [False, True], ids=["the-request", "the-answer"])
@pytest.mark.parametrize("count", [1, 40])
def test_a_connection_whose_other_end_is_gone(
    link: TestLink, proxied: ProxiedCluster, mirrored: str, count: int, *, answer: bool
) -> None:
    """Half-open: the request, or its answer, is taken and thrown away, and so is all that follows."""
    fault = proxied.proxy.arm(Fault(answer=answer, share=0.0, cut=False, silent=True))
    before = link.mirror_ends(mirrored)
    gap(link, mirrored, count)
    assert fault.met.wait(30)
    link.await_beyond(mirrored, {0: before[0] + 3 + count}, RESUMED_S)
    link.assert_exact(mirrored, at_least=16)
    link.await_status(mirrored, "ACTIVE")


@pytest.mark.parametrize("what", ["marker", "record"])
@pytest.mark.parametrize("count", [1, 40])
def test_somebody_else_writes_while_markers_are_written(
    link: TestLink, proxied: ProxiedCluster, mirrored: str, what: str, count: int
) -> None:
    """Just before our request: the log end is beyond what it should be, and nothing is sent behind it."""

    def intrude() -> None:
        if what == "marker":
            assert write_markers(proxied.bootstrap_servers, mirrored) == 0
        else:
            produce(proxied.bootstrap_servers, mirrored, [Record(b"foreign", b"record")], partition=0)

    gap(link, mirrored, 1, after=0)  # from now on the partition has a marker with this run's token
    link.await_caught_up(mirrored)
    fault = proxied.proxy.arm(Fault(cut=False, before=intrude))
    gap(link, mirrored, count, after=3)
    assert fault.met.wait(30)
    said = link.await_failed(mirrored, "MARKER_OVERRUN")
    found = re.fullmatch(r"partition 0 offset (\d+): the log end is (\d+) where .*", said)
    assert found, said
    offset, end = map(int, found.groups())
    # How much of a gap the source shows at once is its own affair: 39 are sent where it shows all the 40.
    assert 12 < offset < 12 + max(2, count)
    assert end == offset + 1
    assert link.mirror_ends(mirrored)[0] == end, "nothing follows"
    link.compare(mirrored, upto={0: 12}, at_least=11)


def test_a_marker_of_another_run_beside_the_first_of_ours(
    link: TestLink, proxied: ProxiedCluster, mirrored: str
) -> None:
    """Within a gap of many there is room for it: one marker is as good as another."""
    fault = proxied.proxy.arm(Fault(cut=False, before=lambda: write_markers(proxied.bootstrap_servers, mirrored) == 0))
    gap(link, mirrored, 40)
    assert fault.met.wait(30)
    link.assert_exact(mirrored, at_least=16)
    link.await_status(mirrored, "ACTIVE")


def test_a_record_of_somebody_else_beside_the_first_marker(
    link: TestLink, proxied: ProxiedCluster, mirrored: str
) -> None:
    """There is room for it in the gap, but it is no marker."""
    foreign = [Record(b"foreign", b"record")]
    fault = proxied.proxy.arm(
        Fault(cut=False, before=lambda: produce(proxied.bootstrap_servers, mirrored, foreign, partition=0))
    )
    gap(link, mirrored, 40)
    assert fault.met.wait(30)
    link.await_failed(mirrored, "FOREIGN_WRITER", offset=8)
    link.compare(mirrored, upto={0: 8}, at_least=8)


def test_somebody_elses_marker_while_nothing_is_written(link: TestLink, mirrored: str) -> None:
    """Then the next batch lands elsewhere."""
    assert write_markers(link.destination.bootstrap_servers, mirrored) == 0
    produce(link.source.bootstrap_servers, mirrored, [Record(b"k", b"v")], partition=0)
    link.await_failed(mirrored, "FOREIGN_WRITER", offset=5)


# --- two runners ---


def run_token(kmirror: Kmirror, link: str) -> int:
    def told() -> int | None:
        return json.loads((kmirror.runtime(link) / "status.json").read_text())["run_token"]

    eventually(lambda: told() is not None, 10, "the runner holds the link, and has said so")
    return int(told() or 0)


@pytest.mark.parametrize("seed", [1, 2])
def test_a_frozen_runner_that_thaws_after_another_took_over(
    kmirror: Kmirror, east: KafkaCluster, proxied: ProxiedCluster, topic_name: str, seed: int
) -> None:
    """Frozen while it fills gaps, at a moment that the seed draws. Both copy for a while, the log stays exact, the
    older one ends with its exit code, and the younger one stays.
    """
    older = TestLink(kmirror, east, proxied, f"frozen-{seed}").create()
    create_topic(east.bootstrap_servers, topic_name, 4)
    older.mirror(topic_name, "--no-start")
    first = kmirror.start("link", "run", older.name)
    eventually(lambda: run_token(kmirror, older.name) >= 0, 30, "the first runner has its token")
    younger = a_copy_of(older)
    try:
        for partition in range(4):
            gap(older, topic_name, 6_000, partition=partition)
        older.await_beyond(topic_name, dict.fromkeys(range(4), 3))
        time.sleep(random.Random(seed).uniform(0, 0.3))
        os.kill(first.pid, signal.SIGSTOP)
        left = older.mirror_ends(topic_name)
        second = younger.kmirror.start("link", "run", older.name)
        for partition in range(4):
            gap(older, topic_name, 3_000, partition=partition)
        younger.await_beyond(topic_name, left)
        os.kill(first.pid, signal.SIGCONT)
        for turn in range(3):
            gap(older, topic_name, 500 + turn, partition=turn)
        assert first.wait(60) == SUPERSEDED
        gap(older, topic_name, 3)
        younger.assert_exact(topic_name, at_least=4 * 12 + 24)
        assert second.poll() is None
        younger.await_status(topic_name, "ACTIVE")
        assert run_token(younger.kmirror, older.name) <= 5, "they took the link from each other again and again"
        assert "another runner took this link over" in output_of(kmirror, 0)
    finally:
        younger.kmirror.stop_all()


@pytest.mark.parametrize("count", [1, 3_000])
def test_markers_of_a_killed_runner_that_arrive_while_the_next_one_starts(
    kmirror: Kmirror, east: KafkaCluster, proxied: ProxiedCluster, topic_name: str, count: int
) -> None:
    """The next one has read the log end already, or is about to: it sends no marker before nothing late can come."""
    link = TestLink(kmirror, east, proxied, f"killed-{count}").create()
    create_topic(east.bootstrap_servers, topic_name, 1)
    gap(link, topic_name, 2)
    link.mirror(topic_name, "--no-start")
    first = kmirror.start("link", "run", link.name)
    link.await_caught_up(topic_name)

    def takeover() -> None:
        first.kill()
        first.wait()
        kmirror.start("link", "run", link.name)
        eventually(lambda: "run_token=" in output_of(kmirror, 1), 30, "the next one has its token")

    fault = proxied.proxy.arm(Fault(before=takeover, cut=False))
    gap(link, topic_name, count)
    assert fault.met.wait(60)
    link.assert_exact(topic_name, at_least=12)
    link.await_status(topic_name, "ACTIVE")


def a_copy_of(link: TestLink) -> TestLink:
    """As on another host: the same links.toml, a runtime folder of its own."""
    home = link.kmirror.home.with_name("home-of-another-host")
    home.mkdir(mode=0o700)
    shutil.copy(link.kmirror.links_file, home / "links.toml")
    return TestLink(Kmirror(home), link.source, link.destination, link.name)


def output_of(kmirror: Kmirror, number: int) -> str:
    return kmirror.home.with_name(f"{kmirror.home.name}-foreground-{number}.log").read_text()
