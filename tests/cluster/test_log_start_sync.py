"""Where records have to be gone at the mirror once they are gone at the source."""

import time

from kmirror.sandbox import KafkaCluster
from support.kmirror_cli import Kmirror
from support.logs import Topic
from support.mirrors import TestLink
from support.traffic import Record, create_topic, produce
from support.transactions import delete_records
from support.wait import eventually


def starts(cluster: KafkaCluster, topic: str) -> dict[int, int]:
    return {
        partition: found.start
        for partition, found in Topic(cluster.bootstrap_servers, topic, time.monotonic() + 20).bounds().items()
    }


def test_records_that_are_deleted_at_the_source_are_deleted_at_the_mirror(
    kmirror: Kmirror, east: KafkaCluster, west: KafkaCluster, topic_name: str
) -> None:
    create_topic(east.bootstrap_servers, topic_name, 2)
    produce(east.bootstrap_servers, topic_name, [Record(b"key", b"%d" % n, partition=n % 2) for n in range(100)])
    link = TestLink(kmirror, east, west).create("log.start.sync.enable=true", "log.start.sync.ms=1000")
    link.mirror(topic_name)
    link.await_caught_up(topic_name)
    assert starts(west, topic_name) == {0: 0, 1: 0}
    delete_records(east.bootstrap_servers, topic_name, {0: 17})
    eventually(lambda: starts(west, topic_name) == {0: 17, 1: 0}, 30, link.log, interval=0.2)
    told = f'task=LogStartSync what="log start of {topic_name}[0]" old=0 new=17'
    eventually(lambda: told in link.log(), 10, link.log)
    delete_records(east.bootstrap_servers, topic_name, {1: 50})  # all that there is
    eventually(lambda: starts(west, topic_name) == {0: 17, 1: 50}, 30, link.log, interval=0.2)
    produce(east.bootstrap_servers, topic_name, [Record(b"key", b"late", partition=1)])
    link.assert_exact(topic_name)
