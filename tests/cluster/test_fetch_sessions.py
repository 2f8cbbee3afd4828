"""Fetch sessions (KIP-227) on a broker that has room for few: held while the link runs, given back, done without."""

import json
from collections.abc import Callable
from typing import Final

from kafka.protocol.consumer import FetchRequest, FetchResponse

from kmirror.sandbox import KafkaCluster
from support import raw
from support.kmirror_cli import Kmirror
from support.mirrors import TestLink
from support.traffic import create_topic, produce, sized
from support.wait import eventually

SLOTS: Final = 8
"""The cache has eight parts (BrokerServer.NumFetchSessionCacheShards), which are taken in turn: one session in each."""


def sessions_taken(bootstrap: str, topic: str) -> int:
    """Begins as many sessions as there are slots; returns how many the broker gave. They are not given back."""
    topics = FetchRequest.FetchTopic
    part = topics.FetchPartition(partition=0, fetch_offset=0, log_start_offset=-1, partition_max_bytes=1)
    request = FetchRequest(
        replica_id=-1, max_wait_ms=0, min_bytes=0, max_bytes=1, isolation_level=0, session_id=0, session_epoch=0
    )
    request.topics, request.forgotten_topics_data, request.rack_id = [topics(topic=topic, partitions=[part])], [], ""
    answers = [raw.call(bootstrap, request, FetchResponse, 12) for _ in range(SLOTS)]
    assert [answer.error_code for answer in answers] == [0] * SLOTS
    return sum(answer.session_id != 0 for answer in answers)


def last_answer_ms(link: TestLink, topic: str) -> int:
    """When the source last answered for the partition that waits the longest for it; 0 where one never had any."""
    status = json.loads((link.kmirror.runtime(link.name) / "status.json").read_text())
    return min(part["fetched_ms"] or 0 for part in status["mirrors"][topic]["partitions"])


def test_a_session_is_held_and_given_back_and_done_without(
    kmirror: Kmirror, own_cluster: Callable[..., KafkaCluster], west: KafkaCluster, topic_name: str
) -> None:
    source = own_cluster("narrow", properties={"max.incremental.fetch.session.cache.slots": str(SLOTS)})
    servers = source.bootstrap_servers
    create_topic(servers, topic_name, 3)
    produce(servers, topic_name, sized(300, partitions=3))
    link = TestLink(kmirror, source, west).create()
    link.mirror(topic_name)
    link.await_caught_up(topic_name)

    before = eventually(lambda: last_answer_ms(link, topic_name), message="each partition is seen")
    eventually(
        lambda: last_answer_ms(link, topic_name) > before + 1_000,
        message="nothing comes, and each partition is seen all the same",
    )
    produce(servers, topic_name, sized(1, seed=2))
    link.await_caught_up(topic_name)
    assert sessions_taken(servers, topic_name) == SLOTS - 1, "the runner has one"

    link.stop()
    assert sessions_taken(servers, topic_name) == 1, "it was given back"
    link.start()
    produce(servers, topic_name, sized(300, seed=3, partitions=3))
    assert link.assert_exact(topic_name) == 601
    assert sessions_taken(servers, topic_name) == 0, "there was none to be had"
    (lag,) = {row["partition_mirror_lag"] for row in link.describe(topic_name)}
    assert lag == 0
