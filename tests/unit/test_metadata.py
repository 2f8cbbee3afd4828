"""Metadata of very many topics: what is asked for, and how much memory the answer takes."""

import asyncio
import gc
import tracemalloc
import uuid
from collections.abc import Sequence
from typing import Any

import pytest
from kafka.protocol.metadata import MetadataResponse

from kmirror.wire import cluster as module
from kmirror.wire import rpc
from kmirror.wire.cluster import Cluster
from kmirror.wire.rpc import ClusterMetadata

VERSION = 12
MANY = 10_000
KEPT_BYTES = 8_000_000
PEAK_BYTES = 20_000_000


def answer(topics: int) -> bytes:
    """Of a cluster of three brokers, with one partition in each topic."""
    of = MetadataResponse.MetadataResponseTopic
    partition = of.MetadataResponsePartition(
        error_code=0,
        partition_index=0,
        leader_id=1,
        leader_epoch=0,
        replica_nodes=[1, 2, 3],
        isr_nodes=[1, 2, 3],
        offline_replicas=[],
    )
    found = [
        of(error_code=0, name=f"topic-{n:05}", topic_id=uuid.UUID(int=n + 1), is_internal=False, partitions=[partition])
        for n in range(topics)
    ]
    brokers = [MetadataResponse.MetadataResponseBroker(node_id=n, host="h", port=9092, rack=None) for n in range(1, 4)]
    response = MetadataResponse(
        throttle_time_ms=0, brokers=brokers, cluster_id="a cluster", controller_id=1, topics=found
    )
    return bytes(response.encode(version=VERSION))


class Played:
    """A connection with one answer to everything."""

    name = "broker"

    def __init__(self, frame: bytes) -> None:
        self._frame = frame

    def version_of(self, *_: int) -> int:
        return VERSION

    def close(self) -> None:
        raise AssertionError("it can be read")

    async def call(self, _: Any, response: Any, version: int) -> Any:
        return response.decode(self._frame, version=version)


def test_ten_thousand_topics_take_bounded_memory() -> None:
    """As many as a link may mirror. The answer itself has 800 KB."""
    connection = Played(answer(MANY))
    gc.collect()
    tracemalloc.start()
    try:
        found = asyncio.run(rpc.metadata(connection, []))  # type: ignore[arg-type]
        gc.collect()
        kept, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(found.topics) == MANY
    assert found.topics["topic-09999"].leaders == {0: 1}
    assert kept < KEPT_BYTES, kept
    assert peak < PEAK_BYTES, peak


def test_metadata_are_asked_of_the_topics_that_are_mirrored_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cluster may have ten thousand others."""
    asked: list[Sequence[str]] = []

    async def metadata(_: object, topics: Sequence[str]) -> ClusterMetadata:
        asked.append(topics)
        return ClusterMetadata("a cluster", {}, {})

    async def any_connection(*_: object, **__: object) -> None:
        return None

    monkeypatch.setattr(module.rpc, "metadata", metadata)  # type: ignore[attr-defined]
    cluster = Cluster(module.Access("east:9092"), "source")  # type: ignore[attr-defined]
    monkeypatch.setattr(cluster, "any_connection", any_connection)
    asyncio.run(cluster.refresh(["b", "a"]))
    asyncio.run(cluster.refresh([]))
    assert asked == [["a", "b"], []]
