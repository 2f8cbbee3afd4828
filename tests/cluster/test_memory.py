"""The runner's memory is bounded by what it may hold, not by what the source holds or how slow the destination is."""

import json
import shutil
from collections.abc import Iterator
from typing import Final

import pytest
from bench.meter import peak_rss_megabytes
from confluent_kafka.admin import NewTopic

from kmirror.sandbox import KafkaCluster, kafka_runtime
from support.kmirror_cli import Kmirror
from support.mirrors import TestLink, admin
from support.network import Conditions, FarCluster
from support.short_lived import short_lived
from support.traffic import Record, create_topic, produce, sized
from support.wait import eventually

MB: Final = 1_000_000
PROGRAM_MB: Final = 70
"""The program itself, which takes about 45."""
HELD_MB: Final = 16
LISTED_MB: Final = 50
"""Names and partitions of ten thousand topics, in librdkafka and in Python."""
MANY: Final = 10_000
REUSED_MB: Final = 2 * 34
"""Buffers of answers of both clusters that are used again (`wire/buffers.py`)."""


@pytest.fixture(scope="module")
def far(nothing_left_behind: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FarCluster]:
    """A destination over a network that a test may make slow."""
    directory = tmp_path_factory.mktemp("far")
    properties = {"auto.create.topics.enable": "false"}
    with short_lived(FarCluster("far", directory, kafka_runtime(), properties=properties)) as cluster:
        yield cluster
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def link(kmirror: Kmirror, east: KafkaCluster, far: FarCluster) -> Iterator[TestLink]:
    yield TestLink(kmirror, east, far).create(f"fetch.buffer.bytes={HELD_MB * MB}")
    far.network.set(Conditions())


def test_a_slow_destination(link: TestLink, far: FarCluster, topic_name: str) -> None:
    records, size = 6_000, 50_000
    servers = link.source.bootstrap_servers
    create_topic(servers, topic_name, 6)
    produce(servers, topic_name, sized(records, low=size, high=size, partitions=6), config={"linger.ms": 50})
    far.network.set(Conditions(bytes_per_s=20 * MB))
    link.mirror(topic_name)
    link.await_beyond(topic_name, dict.fromkeys(range(6), 100))
    far.network.set(Conditions())
    link.await_caught_up(topic_name)
    most = PROGRAM_MB + HELD_MB * 1.25 + REUSED_MB
    assert most < records * size / MB / 1.5, "the bound is worth something"
    assert peak_rss_megabytes(link.pid) < most


def test_records_of_50_megabytes(link: TestLink, topic_name: str) -> None:
    """One that is larger than all that may be held goes alone."""
    size, records = 50 * MB, 7
    servers = link.source.bootstrap_servers
    create_topic(servers, topic_name, 2, config={"max.message.bytes": str(60 * MB)})
    large = [Record(None, bytes([number]) * size, partition=number % 2) for number in range(records)]
    produce(servers, topic_name, large, config={"message.max.bytes": 60 * MB}, idempotent=True, batch_records=1)
    link.mirror(topic_name)
    assert link.assert_exact(topic_name) == records
    most = 200  # the program, one record or two, and what is left over of buffers
    assert most < records * size / MB / 1.3, "the bound is worth something"
    assert peak_rss_megabytes(link.pid) < most


@pytest.fixture
def crowded(nothing_left_behind: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaCluster]:
    """A source of ten thousand topics that nobody mirrors."""
    directory = tmp_path_factory.mktemp("crowded")
    with short_lived(KafkaCluster("crowded", directory, kafka_runtime())) as cluster:
        client = admin(cluster)
        names = [f"other-{number:05}" for number in range(MANY)]
        for begin in range(0, MANY, 500):
            new = [NewTopic(name, 1, 1) for name in names[begin : begin + 500]]
            for made in client.create_topics(new, operation_timeout=60, request_timeout=60).values():
                made.result(60)
        # Asked seldom, for each answer is of all of them.
        eventually(lambda: len(client.list_topics(timeout=30).topics) >= MANY, 120, "all topics are there", 1)
        yield cluster
    shutil.rmtree(directory, ignore_errors=True)


def test_few_of_ten_thousand_topics(kmirror: Kmirror, crowded: KafkaCluster, west: KafkaCluster) -> None:
    """Looked through every second for new ones that the filters choose; they are no burden of the runner's else."""
    chosen = [{"name": "few-", "patternType": "PREFIXED", "filterType": "INCLUDE"}]
    link = TestLink(kmirror, crowded, west).create(
        "auto.create.mirror.topics.enable=true",
        f"auto.create.mirror.topics.filters={json.dumps({'topicFilters': chosen})}",
        "metadata.max.age.ms=1000",
    )
    for name in ("few-1", "few-2", "few-3"):
        create_topic(crowded.bootstrap_servers, name)
        produce(crowded.bootstrap_servers, name, [Record(b"k", b"v")] * 10, partition=0)
    rows = kmirror.json("mirror", "create", "--all-matching", "few-[12]", "--link", link.name)
    assert [row["mirror_topic_name"] for row in rows] == ["few-1", "few-2"]
    eventually(lambda: len(kmirror.json("mirror", "list", "--link", link.name)) == 3, 60, link.log)

    def looked() -> int:
        rows = kmirror.json("link", "task", "list", link.name)
        return int(next(row["runs"] for row in rows if row["task_name"] == "AutoCreateMirror"))

    runs = looked()
    eventually(lambda: looked() >= runs + 5, 60, "new topics are looked for again and again")
    for name in ("few-1", "few-2", "few-3"):
        link.assert_exact(name, at_least=10)
    assert peak_rss_megabytes(link.pid) < PROGRAM_MB + LISTED_MB
