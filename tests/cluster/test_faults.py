"""The copy under faults: runners and brokers that are killed, frozen and restarted, and foreign writers.

Every test ends with the oracle, or with a mirror that is FAILED and says where.
"""

import contextlib
import os
import shutil
import signal
import time
from collections.abc import Iterator

import pytest

from kmirror.admin import many_topics
from kmirror.admin.cluster import ClusterAdmin
from kmirror.errors import NotFound
from kmirror.model.access import Access
from kmirror.sandbox import KafkaCluster, kafka_runtime
from support.kmirror_cli import Kmirror
from support.mirrors import TestLink, delete_topic, ends
from support.short_lived import short_lived
from support.traffic import Record, Traffic, create_topic, produce, sized
from support.wait import eventually

FROZEN_S = 10
"""How long what is frozen stays so: here the time itself is the case."""

PATIENT = {"message.timeout.ms": 120_000, "reconnect.backoff.max.ms": 500}
"""For producers whose brokers are away for a while."""


@pytest.fixture
def link(kmirror: Kmirror, east: KafkaCluster, west: KafkaCluster) -> TestLink:
    return TestLink(kmirror, east, west).create()


@pytest.fixture(scope="module")
def fragile(nothing_left_behind: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaCluster]:
    """One broker that may be hurt. Who hurts it heals it."""
    directory = tmp_path_factory.mktemp("fragile")
    with short_lived(KafkaCluster("fragile", directory, kafka_runtime())) as cluster:
        yield cluster
    shutil.rmtree(directory, ignore_errors=True)


def write(cluster: KafkaCluster, topic: str, count: int = 10, *, partition: int = 0) -> None:
    records = [Record(b"k", b"record %d" % i) for i in range(count)]
    produce(cluster.bootstrap_servers, topic, records, partition=partition)


# --- the runner ---


def test_a_runner_killed_ten_times_under_traffic(link: TestLink, topic_name: str) -> None:
    """kill -9 at any moment; in every other round all its runtime files go too."""
    create_topic(link.source.bootstrap_servers, topic_name, 3)
    produce(link.source.bootstrap_servers, topic_name, sized(20_000, partitions=3))
    link.mirror(topic_name)
    with Traffic(link.source.bootstrap_servers, topic_name, rate=3_000, size=500) as traffic:
        for round_ in range(10):
            link.await_beyond(topic_name, link.mirror_ends(topic_name))
            link.kill()
            if round_ % 2:
                shutil.rmtree(link.kmirror.runtime(link.name))
            link.start()
        acked = traffic.stop()
    assert link.assert_exact(topic_name) == 20_000 + acked
    link.await_status(topic_name, "ACTIVE")


def test_there_is_one_runner_of_a_link_and_sigterm_ends_it(link: TestLink, topic_name: str) -> None:
    """The lock refuses a second one; SIGTERM under traffic ends a foreground runner within 10 s, with exit code 0."""
    create_topic(link.source.bootstrap_servers, topic_name, 2)
    link.mirror(topic_name, "--no-start")
    assert link.kmirror.runner_pid(link.name) is None
    runner = link.kmirror.start("link", "run", link.name)
    with Traffic(link.source.bootstrap_servers, topic_name, rate=2_000):
        eventually(lambda: link.pid == runner.pid, 20, "the foreground runner has the lock")
        link.await_beyond(topic_name, {0: 0, 1: 0})
        refused = link.kmirror.fails("link", "run", link.name)
        assert f'link "{link.name}" is already running' in refused
        assert str(runner.pid) in refused
        assert link.kmirror.json("link", "start", link.name)["runner_pid"] == runner.pid
        runner.send_signal(signal.SIGTERM)
        assert runner.wait(10) == 0
        assert link.kmirror.runner_pid(link.name) is None
        link.start()
        link.await_beyond(topic_name, link.mirror_ends(topic_name))
    link.assert_exact(topic_name)


def test_a_frozen_runner_goes_on(link: TestLink, topic_name: str) -> None:
    create_topic(link.source.bootstrap_servers, topic_name, 2)
    link.mirror(topic_name)
    with Traffic(link.source.bootstrap_servers, topic_name, rate=2_000) as traffic:
        link.await_beyond(topic_name, {0: 0, 1: 0})
        pid = link.pid
        os.kill(pid, signal.SIGSTOP)
        time.sleep(FROZEN_S)
        os.kill(pid, signal.SIGCONT)
        link.await_beyond(topic_name, link.mirror_ends(topic_name))
        acked = traffic.stop()
    assert link.assert_exact(topic_name) == acked
    assert link.pid == pid


def test_a_frozen_runner_that_thaws_beside_its_successor(link: TestLink, topic_name: str) -> None:
    """Its files deleted, a second runner gets a lock of its own: both copy, and no record is doubled or lost."""
    create_topic(link.source.bootstrap_servers, topic_name, 2)
    produce(link.source.bootstrap_servers, topic_name, sized(20_000, partitions=2))
    link.mirror(topic_name)
    with Traffic(link.source.bootstrap_servers, topic_name, rate=2_000, size=1_000) as traffic:
        link.await_beyond(topic_name, {0: 0, 1: 0})
        older = link.pid
        os.kill(older, signal.SIGSTOP)
        shutil.rmtree(link.kmirror.runtime(link.name))
        assert link.start() != older
        link.await_beyond(topic_name, link.mirror_ends(topic_name))
        os.kill(older, signal.SIGCONT)
        for _ in range(5):
            link.await_beyond(topic_name, link.mirror_ends(topic_name))
        traffic.stop()
    link.assert_exact(topic_name)
    link.await_status(topic_name, "ACTIVE")
    with contextlib.suppress(ProcessLookupError):  # it may have found out that it is superseded
        os.kill(older, signal.SIGTERM)
    eventually(lambda: older not in {p.pid for p in link.kmirror.processes()}, 10, "the older runner ends")


# --- brokers ---


@pytest.mark.parametrize("side", ["source", "destination"])
def test_a_broker_frozen_killed_and_restarted(
    kmirror: Kmirror, fragile: KafkaCluster, east: KafkaCluster, west: KafkaCluster, topic_name: str, *, side: str
) -> None:
    """What is away is shown, with cause and time; when it is back the copy goes on by itself, exactly."""
    source, destination = (fragile, west) if side == "source" else (east, fragile)
    shown = {"source": "SOURCE_UNAVAILABLE", "destination": "LINK_FAILED"}[side]
    create_topic(source.bootstrap_servers, topic_name, 3)
    link = TestLink(kmirror, source, destination).create()
    link.mirror(topic_name)
    idle = f"{topic_name}.idle"  # nothing comes to it: it has to be told of the outage all the same
    create_topic(source.bootstrap_servers, idle)
    link.mirror(idle)
    with Traffic(source.bootstrap_servers, topic_name, rate=1_500, size=500, config=PATIENT) as traffic:
        link.await_beyond(topic_name, dict.fromkeys(range(3), 0))
        fragile.suspend()
        time.sleep(FROZEN_S)
        fragile.resume()
        link.await_beyond(topic_name, link.mirror_ends(topic_name))

        before = link.mirror_ends(topic_name) if side == "source" else None
        fragile.kill()
        killed_ms = time.time() * 1000
        for topic in (topic_name, idle):
            row = link.await_status(topic, shown)[0]
            assert fragile.bootstrap_servers in row["partition_error_message"], row
            assert killed_ms - 5_000 < row["partition_error_since_ms"] < time.time() * 1000, row
        fragile.start_broker()
        before = before or link.mirror_ends(topic_name)
        link.await_beyond(topic_name, before)
        link.await_status(topic_name, "ACTIVE")

        fragile.stop_broker()
        fragile.start_broker()
        link.await_beyond(topic_name, link.mirror_ends(topic_name))
        traffic.stop()
    link.assert_exact(topic_name, at_least=1_000)


def test_who_asks_a_broker_before_and_after_its_restart(fragile: KafkaCluster, topic_name: str) -> None:
    """The partitions have no leader for a moment, then one of another epoch: the same client learns of both."""
    create_topic(fragile.bootstrap_servers, topic_name)
    write(fragile, topic_name)
    admin = ClusterAdmin(Access(fragile.bootstrap_servers), "source", timeout_s=60)
    for _restart in range(3):
        assert admin.log_ends(topic_name, 1) == (10,)
        fragile.kill()
        fragile.start_broker()
    assert many_topics.log_ends_of(admin, {topic_name: 1}) == {topic_name: (10,)}
    with pytest.raises(NotFound):
        admin.log_ends(f"{topic_name}.unknown", 1)


def test_failover_when_the_source_is_dead(
    kmirror: Kmirror, fragile: KafkaCluster, west: KafkaCluster, topic_name: str
) -> None:
    """What the runner had seen of the source and could not copy any more is told for each partition."""
    create_topic(fragile.bootstrap_servers, topic_name, 2)
    small = ("replica.fetch.response.max.bytes=1048576", "fetch.buffer.bytes=1048576")
    link = TestLink(kmirror, fragile, west).create(*small)
    link.mirror(topic_name)
    write(fragile, topic_name, 100)
    link.await_caught_up(topic_name)
    # Runner and destination stand still while the source gets more than fits the runner's memory.
    runner = link.pid
    os.kill(runner, signal.SIGSTOP)
    west.suspend()
    try:
        produce(fragile.bootstrap_servers, topic_name, sized(8_000, low=1_000), partition=0, batch_bytes=100_000)
        os.kill(runner, signal.SIGCONT)
        link.await_shown(
            topic_name, lambda rows: rows[0]["source_log_end_offset"] == 8_100, "has seen the source's end"
        )
        fragile.kill()
    finally:
        west.resume()
    try:
        link.await_status(topic_name, "SOURCE_UNAVAILABLE")
        settled: list[dict[int, int]] = []

        def still() -> bool:
            settled.append(link.mirror_ends(topic_name))
            return len(settled) > 1 and settled[-1] == settled[-2]

        eventually(still, 30, "what the runner held is copied", interval=2)
        refused = kmirror.fails("mirror", "promote", topic_name, "--link", link.name)
        assert fragile.bootstrap_servers in refused
        rows = link.verb("failover", topic_name)
    finally:
        fragile.start_broker()
    assert [row["mirror_status"] for row in rows] == ["STOPPED"] * 2
    reached = link.mirror_ends(topic_name)
    assert 100 <= reached[0] < 8_100, "the source outlived its death"
    assert [row["records_left_behind"] for row in rows] == [8_100 - reached[0], 0]
    link.compare(topic_name, upto=reached, at_least=reached[0])
    write(west, topic_name, 5)
    assert link.mirror_ends(topic_name) == {**reached, 0: reached[0] + 5}


# --- topics that are not what they were ---


def test_a_foreign_write_while_running(link: TestLink, topic_name: str) -> None:
    """The next append lands elsewhere: FAILED at the foreign record's offset, and a neighbour goes on."""
    neighbour = f"{topic_name}.neighbour"
    for topic in (topic_name, neighbour):
        create_topic(link.source.bootstrap_servers, topic, 2)
        link.mirror(topic)
        write(link.source, topic, 50, partition=1)
        link.await_caught_up(topic)
    produce(link.destination.bootstrap_servers, topic_name, [Record(b"foreign", b"record")], partition=1)
    write(link.source, topic_name, 10, partition=1)
    said = link.await_failed(topic_name, "FOREIGN_WRITER", partition=1, offset=50)
    assert "somebody else" in said
    link.compare(topic_name, upto={0: 0, 1: 50}, at_least=50)
    link.stop()
    link.start()
    assert link.await_failed(topic_name, "FOREIGN_WRITER", partition=1, offset=50) == said
    write(link.source, neighbour, 10)
    link.assert_exact(neighbour, at_least=60)


def test_what_happened_to_topics_while_no_runner_ran(link: TestLink, topic_name: str) -> None:
    """Found at the next start: foreign records beside the source's and beyond its end, and topics made anew."""
    kinds = ("overwritten", "overrun", "source-anew", "mirror-anew", "untouched")
    topics = {kind: f"{topic_name}.{kind}" for kind in kinds}
    for topic in topics.values():
        create_topic(link.source.bootstrap_servers, topic)
        link.mirror(topic)
        write(link.source, topic, 50)
        link.await_caught_up(topic)
    link.stop()
    for kind in ("overwritten", "overrun"):
        produce(link.destination.bootstrap_servers, topics[kind], [Record(b"foreign", b"record")], partition=0)
    write(link.source, topics["overwritten"], 20)
    write(link.source, topics["untouched"], 20)
    for cluster, kind in ((link.source, "source-anew"), (link.destination, "mirror-anew")):
        delete_topic(cluster, topics[kind])
        create_topic(cluster.bootstrap_servers, topics[kind])
        write(cluster, topics[kind], 70)
    before = {kind: link.mirror_ends(topic) for kind, topic in topics.items()}
    link.start()
    link.await_failed(topics["overwritten"], "FOREIGN_WRITER", offset=50)
    link.await_failed(topics["overrun"], "UNEXPECTED_TRUNCATION", offset=50)
    link.await_failed(topics["source-anew"], "SOURCE_TOPIC_ID_CHANGED")
    link.await_failed(topics["mirror-anew"], "DESTINATION_TOPIC_ID_CHANGED")
    link.assert_exact(topics["untouched"], at_least=70)
    for kind in kinds[:-1]:
        assert link.mirror_ends(topics[kind]) == before[kind], f"something was written to {kind}"


def a_mirror_for_each_side(link: TestLink, name: str) -> dict[str, str]:
    """Topics of 50 records that are copied: one to be changed at the source, one at the destination."""
    topics = {side: f"{name}.{side}" for side in ("source", "destination")}
    for topic in topics.values():
        create_topic(link.source.bootstrap_servers, topic)
        link.mirror(topic)
        write(link.source, topic, 50)
        link.await_caught_up(topic)
    return topics


def test_topics_made_anew_while_running(link: TestLink, topic_name: str) -> None:
    topics = a_mirror_for_each_side(link, topic_name)
    for cluster, side in ((link.source, "source"), (link.destination, "destination")):
        delete_topic(cluster, topics[side])
        create_topic(cluster.bootstrap_servers, topics[side])
    write(link.source, topics["source"], 70)
    write(link.source, topics["destination"], 20)
    link.await_failed(topics["source"], "SOURCE_TOPIC_ID_CHANGED")
    link.await_failed(topics["destination"], "DESTINATION_TOPIC_ID_CHANGED")
    assert link.mirror_ends(topics["source"]) == {0: 50}
    assert link.mirror_ends(topics["destination"]) == {0: 0}


def test_topics_that_are_deleted(kmirror: Kmirror, east: KafkaCluster, west: KafkaCluster, topic_name: str) -> None:
    """At the source, or at the destination: FAILED once that has held for cluster.link.retry.timeout.ms."""
    link = TestLink(kmirror, east, west).create("cluster.link.retry.timeout.ms=1000")
    topics = a_mirror_for_each_side(link, topic_name)
    for cluster, side in ((link.source, "source"), (link.destination, "destination")):
        delete_topic(cluster, topics[side])
    link.await_failed(topics["source"], "SOURCE_TOPIC_MAY_BE_DELETED")
    link.await_failed(topics["destination"], "DESTINATION_TOPIC_MAY_BE_DELETED")
    assert link.mirror_ends(topics["source"]) == {0: 50}


def test_another_cluster_at_the_address(link: TestLink, topic_name: str) -> None:
    """Source and destination swapped behind the link's back: it is told, and nothing is written to either."""
    create_topic(link.source.bootstrap_servers, topic_name)
    link.mirror(topic_name)
    write(link.source, topic_name, 50)
    link.await_caught_up(topic_name)
    link.stop()
    text = link.kmirror.links_file.read_text()
    here, there = link.source.bootstrap_servers, link.destination.bootstrap_servers
    link.kmirror.links_file.write_text(text.replace(here, "HERE").replace(there, here).replace("HERE", there))
    write(link.source, topic_name, 20)
    link.start()
    rows = link.await_status(topic_name, "LINK_FAILED")
    assert "is cluster" in link.kmirror.run("link", "describe", link.name).stdout, rows
    assert (link.mirror_ends(topic_name), ends(link.source, topic_name)) == ({0: 50}, {0: 70})
    link.stop()
    link.kmirror.links_file.write_text(text)
    link.start()
    link.assert_exact(topic_name, at_least=70)
