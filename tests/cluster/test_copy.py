"""The copy, driven by the command line on real clusters and judged by the oracle: every record, at its own offset."""

import shutil
import time
from typing import Any

import pytest

from kmirror.sandbox import KafkaCluster
from support.difference import What
from support.kmirror_cli import Kmirror
from support.logs import Isolation, Topic
from support.mirrors import TestLink, add_partitions, ends, set_topic_config, topic_configs
from support.traffic import ANY_TIMESTAMP, CODECS, Record, Traffic, create_topic, produce, shapes, sized, turn_ms
from support.transactions import delete_records, transaction
from support.wait import eventually

SOURCES = ("east", "east_39")

CATCHES_UP = {"topic.metadata.refresh.interval.ms": 300}
"""For producers that shall see new partitions soon."""


@pytest.fixture
def link(kmirror: Kmirror, east: KafkaCluster, west: KafkaCluster) -> TestLink:
    return TestLink(kmirror, east, west).create()


def write(cluster: KafkaCluster, topic: str, count: int = 10, *, partition: int = 0, start: int = 0) -> None:
    records = [Record(b"%d" % (i % 3), b"record %d" % i) for i in range(start, start + count)]
    produce(cluster.bootstrap_servers, topic, records, partition=partition)


# --- what is copied ---


@pytest.mark.parametrize("source", SOURCES)
def test_every_shape_size_and_codec(
    request: pytest.FixtureRequest, kmirror: Kmirror, west: KafkaCluster, topic_name: str, source: str
) -> None:
    """A partition for each codec: large batches, batches of one record, and records of 900 KB."""
    cluster: KafkaCluster = request.getfixturevalue(source)
    create_topic(cluster.bootstrap_servers, topic_name, len(CODECS), config=ANY_TIMESTAMP)
    written = 0
    for number, codec in enumerate(CODECS):
        for batch_records in (1, 10_000):
            written += produce(
                cluster.bootstrap_servers,
                topic_name,
                [*shapes(number), *sized(200, seed=number)] if batch_records > 1 else shapes(number),
                partition=number,
                compression=codec,
                batch_records=batch_records,
            )
    link = TestLink(kmirror, cluster, west).create()
    link.mirror(topic_name)
    link.assert_exact(topic_name, at_least=written)


def test_a_hundred_partitions(link: TestLink, topic_name: str) -> None:
    """Within a small budget: many partitions take turns."""
    create_topic(link.source.bootstrap_servers, topic_name, 100)
    count = produce(link.source.bootstrap_servers, topic_name, sized(20_000, partitions=100), compression="lz4")
    link.mirror(topic_name)
    count += produce(link.source.bootstrap_servers, topic_name, sized(5_000, seed=2, partitions=100))
    link.assert_exact(topic_name, at_least=count)


def test_small_buffers_and_a_record_larger_than_they_are(
    kmirror: Kmirror, east: KafkaCluster, west: KafkaCluster, topic_name: str
) -> None:
    """A record of 900 KB passes, though a fetch of a partition is to bring 16 KB only."""
    create_topic(east.bootstrap_servers, topic_name, 3, config=ANY_TIMESTAMP)
    count = produce(east.bootstrap_servers, topic_name, sized(6_000, partitions=3), batch_bytes=20_000)
    for partition in range(3):
        count += produce(east.bootstrap_servers, topic_name, shapes(partition), partition=partition)
    small = ("replica.fetch.max.bytes=16384", "replica.fetch.response.max.bytes=65536", "fetch.buffer.bytes=1048576")
    link = TestLink(kmirror, east, west).create(*small)
    link.mirror(topic_name)
    link.assert_exact(topic_name, at_least=count)


def test_a_renamed_topic(link: TestLink, topic_name: str) -> None:
    name = f"{topic_name}.copy"
    create_topic(link.source.bootstrap_servers, topic_name, 2)
    count = produce(link.source.bootstrap_servers, topic_name, sized(2_000, partitions=2))
    link.mirror(name, "--source-topic", topic_name)
    link.assert_exact(name, topic_name, at_least=count)
    row = link.describe(name)[0]
    assert (row["mirror_topic_name"], row["source_topic_name"]) == (name, topic_name)


# --- while it runs ---


def test_growth_and_added_partitions_while_copying(link: TestLink, topic_name: str) -> None:
    """Partitions that the source gets under traffic are added at the destination, and copied from offset 0."""
    create_topic(link.source.bootstrap_servers, topic_name, 2)
    link.mirror(topic_name)
    with Traffic(link.source.bootstrap_servers, topic_name, rate=3_000, config=CATCHES_UP) as traffic:
        link.await_beyond(topic_name, {0: 0, 1: 0})
        add_partitions(link.source, topic_name, 5)
        eventually(lambda: min(ends(link.source, topic_name).values()) > 0, 30, "traffic to the new partitions")
        eventually(lambda: len(link.mirror_ends(topic_name)) == 5, 30, lambda: f"five partitions\n{link.log()}")
        link.await_beyond(topic_name, dict.fromkeys(range(5), 0))
        acked = traffic.stop()
    assert link.assert_exact(topic_name) == acked
    rows = link.await_shown(topic_name, lambda rows: len(rows) == 5, "shows five partitions")
    assert {row["mirror_status"] for row in rows} == {"ACTIVE"}


def test_promote_under_traffic_that_goes_on(link: TestLink, topic_name: str) -> None:
    """The mirror holds all that the source held at that moment, later records are counted, and it is writable."""
    configs = {"compression.type": "lz4", "retention.ms": "86400000", "max.message.bytes": "700000"}
    create_topic(link.source.bootstrap_servers, topic_name, 3, config=configs)
    produce(link.source.bootstrap_servers, topic_name, sized(5_000, partitions=3), batch_bytes=500_000)
    link.mirror(topic_name)
    assert topic_configs(link.destination, topic_name)["compression.type"] == "producer"
    with Traffic(link.source.bootstrap_servers, topic_name, rate=3_000) as traffic:
        link.await_beyond(topic_name, dict.fromkeys(range(3), 100))
        rows = link.verb("promote", topic_name)
        traffic.stop()
    assert [row["mirror_status"] for row in rows] == ["STOPPED"] * 3
    assert link.status(topic_name) == "STOPPED"
    targets = {row["partition"]: row["target_offset"] for row in rows}
    stopped_at = {row["partition"]: row["last_source_fetch_offset"] for row in rows}
    assert link.mirror_ends(topic_name) == stopped_at
    assert all(stopped_at[p] >= targets[p] > 100 for p in targets)
    link.compare(topic_name, upto=targets, at_least=sum(targets.values()))
    # What was copied beyond the targets is the source's too, and nothing of the source's is left out before it.
    link.compare(topic_name, may_lag=True)

    left = {row["partition"]: row["records_left_behind"] for row in rows}
    later = {p: end - stopped_at[p] for p, end in ends(link.source, topic_name).items()}
    assert sum(later.values()) > 0, "the traffic ended too soon to prove anything"
    assert sum(left.values()) > 0
    assert all(0 <= left[p] <= later[p] for p in left)

    here, there = topic_configs(link.destination, topic_name), topic_configs(link.source, topic_name)
    assert here == there
    write(link.destination, topic_name, 5)
    assert link.mirror_ends(topic_name) == {**stopped_at, 0: stopped_at[0] + 5}


def test_pause_and_resume(link: TestLink, topic_name: str) -> None:
    """What is paused stays where it is, while a neighbour of the same link goes on; then it loses nothing."""
    neighbour = f"{topic_name}.neighbour"
    for topic in (topic_name, neighbour):
        create_topic(link.source.bootstrap_servers, topic)
        write(link.source, topic)
        link.mirror(topic)
        link.await_caught_up(topic)
    link.verb("pause", topic_name, options=("--wait",))
    assert link.status(topic_name) == "PAUSED"
    for topic in (topic_name, neighbour):
        write(link.source, topic, 500, start=10)
    link.await_caught_up(neighbour)
    assert link.mirror_ends(topic_name) == {0: 10}
    link.stop()
    link.start()
    write(link.source, neighbour, 10)
    link.await_caught_up(neighbour)
    assert link.mirror_ends(topic_name) == {0: 10}, "a runner that starts knows what is paused"
    link.verb("resume", topic_name, options=("--wait",))
    for topic in (topic_name, neighbour):
        link.assert_exact(topic, at_least=510)


def test_promote_of_a_paused_and_of_an_empty_topic(link: TestLink, topic_name: str) -> None:
    """A promote copies what is missing, also after a pause; an empty partition does not hold it up."""
    create_topic(link.source.bootstrap_servers, topic_name, 3)
    link.mirror(topic_name)
    link.verb("pause", topic_name, options=("--wait",))
    write(link.source, topic_name, 100, partition=1)
    rows = link.verb("promote", topic_name)
    assert [row["target_offset"] for row in rows] == [0, 100, 0]
    assert [row["records_left_behind"] for row in rows] == [0, 0, 0]
    link.compare(topic_name, at_least=100)


# --- what is not copied in this version ---


def make_odd_topics(east: KafkaCluster, name: str) -> dict[str, dict[str, Any]]:
    """Logs that are not simply one record after the other; with each, what the oracle has to leave aside."""
    at = east.bootstrap_servers
    compacted = f"{name}.compacted"
    compact = {"cleanup.policy": "compact", "segment.ms": "100", "min.cleanable.dirty.ratio": "0.01"}
    create_topic(at, compacted, config=compact)
    produce(at, compacted, [Record(b"kept %d" % i, b"", timestamp_ms=turn_ms(0)) for i in range(10)])
    for turn in range(1, 6):  # three keys, again and again, in segments of their own
        stamp = turn_ms(turn)
        produce(
            at, compacted, [Record(b"%d" % (i % 3), b"record %d of %d" % (i, turn), None, stamp) for i in range(10)]
        )

    committed = f"{name}.transaction"
    create_topic(at, committed)
    write(east, committed)
    transaction(at, committed, [Record(b"k", b"v", partition=0)] * 3)
    aborted = f"{name}.aborted"
    create_topic(at, aborted, 2)
    write(east, aborted, partition=1)
    transaction(at, aborted, [Record(b"k", b"v", partition=1)] * 3, commit=False)
    trimmed = f"{name}.log-start"
    create_topic(at, trimmed)
    write(east, trimmed)
    delete_records(at, trimmed, {0: 4})
    stamped = f"{name}.append-time"
    create_topic(at, stamped, config={"message.timestamp.type": "LogAppendTime"})
    write(east, stamped)

    eventually(lambda: first_hole(east, compacted), 60, "the cleaner compacts")
    set_topic_config(east, compacted, "min.compaction.lag.ms", "3600000")  # and then rests, here and at the mirror
    return {
        compacted: {},
        committed: {},
        aborted: {},
        trimmed: {},
        stamped: {"ignore": [What.TIMESTAMP_TYPE]},
    }


def first_hole(cluster: KafkaCluster, topic: str) -> int | None:
    """The first offset that holds no record; None while there is none."""
    reader = Topic(cluster.bootstrap_servers, topic, time.monotonic() + 20)
    end = reader.bounds()[0].end[Isolation.COMMITTED]
    there = set(reader.read({0: range(end)}, Isolation.COMMITTED)[0].offsets)
    return next((offset for offset in range(end) if offset not in there), None)


def test_odd_logs_are_exact(link: TestLink, topic_name: str) -> None:
    """Holes, transactions, aborted records, a log that starts late, log append time: all at the same offsets."""
    odd = make_odd_topics(link.source, topic_name)
    for topic in odd:
        link.mirror(topic)
    for topic, aside in odd.items():
        link.await_caught_up(topic)
        link.compare(topic, at_least=3, **aside)
    assert link.kmirror.json("mirror", "list", "--mirror-status", "failed") == []

    link.kill()
    shutil.rmtree(link.kmirror.runtime(link.name))
    for topic in odd:
        write(link.source, topic, 7)
    link.start()
    for topic, aside in odd.items():
        link.await_caught_up(topic)
        link.compare(topic, at_least=10, **aside)

    rows = link.verb("promote", *odd)
    assert {row["error_code"] for row in rows} == {""}
    stamped = next(topic for topic, aside in odd.items() if aside)
    assert topic_configs(link.destination, stamped)["message.timestamp.type"] == "LogAppendTime"


def has_run(link: TestLink, task: str) -> bool:
    rows = link.kmirror.json("link", "task", "list", link.name)
    return any(row["task_name"] == task and row["last_success_ms"] for row in rows)


def test_a_bad_topic_fails_with_its_reason_and_its_neighbours_go_on(
    kmirror: Kmirror, east: KafkaCluster, west: KafkaCluster, topic_name: str
) -> None:
    """FAILED names partition and offset, before which all is exact; it stays so, and failover is the way out."""
    link = TestLink(kmirror, east, west).create("topic.config.sync.ms=3600000")  # else the limit is put right again
    bad, good = f"{topic_name}.bad", f"{topic_name}.good"
    for topic in (bad, good):
        create_topic(link.source.bootstrap_servers, topic, 2)
        link.mirror(topic)
    eventually(lambda: has_run(link, "TopicConfigsSync"), 20, "the configs are synced, for an hour")
    set_topic_config(link.destination, bad, "max.message.bytes", "2000")
    write(link.source, bad, 10, partition=1)
    produce(link.source.bootstrap_servers, bad, [Record(b"large", b"x" * 5000, partition=1)])
    with Traffic(link.source.bootstrap_servers, good, rate=500):
        said = link.await_failed(bad, "DESTINATION_REFUSED", partition=1, offset=10)
        assert "MessageSizeTooLarge" in said
        link.compare(bad, upto={0: 0, 1: 10}, at_least=10)
        link.await_beyond(good, link.mirror_ends(good))

        link.stop()
        link.start()
        assert link.await_failed(bad, "DESTINATION_REFUSED", partition=1, offset=10) == said
        link.kill()
        shutil.rmtree(link.kmirror.runtime(link.name))
        link.start()
        assert link.await_failed(bad, "DESTINATION_REFUSED", partition=1, offset=10) == said
        link.await_beyond(good, link.mirror_ends(good))

        assert "failover" in link.kmirror.fails("mirror", "promote", bad, "--link", link.name)
        rows = link.verb("failover", bad)
        assert {row["mirror_status"] for row in rows} == {"STOPPED"}
        before = link.mirror_ends(bad)
        write(link.destination, bad, 5)
        assert link.mirror_ends(bad) == {**before, 0: before[0] + 5}
