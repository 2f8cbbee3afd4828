"""Head alignment: a new mirror's log end is moved to where its source begins, before anything is copied.

Offset S as log start and log end of an empty log: then the first batch of the source lands at S by itself.
"""

import asyncio
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from kmirror.engine.backoff import Backoff
from kmirror.engine.copy import now_ms
from kmirror.engine.destination import produce_version
from kmirror.errors import ClusterError, KmirrorError
from kmirror.model.access import Access
from kmirror.wire import produce as wire_produce
from kmirror.wire import rpc
from kmirror.wire.cluster import Cluster
from kmirror.wire.errors import ConnectionLost, check
from kmirror.wire.filler import MOST_RECORDS, filler_batch
from kmirror.wire.produce import ProducePartition
from kmirror.wire.topic_id import topic_id_bytes

_ACK_MS: Final = 30_000
_TRIES: Final = 20
_SETTLE_S: Final = 1.0
_AT_ONCE: Final = 16  # partitions: their requests share a connection to each broker


Heads = tuple[str, Mapping[int, int]]
"""Of a new topic: its id as Kafka's text, and by partition where it is to begin."""


def fill_heads(access: Access, topics: Mapping[str, Heads]) -> dict[str, KmirrorError]:
    """Fills each partition of these new topics with empty records up to its start. Blocks.

    Returns what went wrong, by topic: such a topic is of no use.
    """
    return asyncio.run(_fill_all(access, topics))


async def _fill_all(access: Access, topics: Mapping[str, Heads]) -> dict[str, KmirrorError]:
    cluster = Cluster(access, "destination")
    room = asyncio.Semaphore(_AT_ONCE)
    faults: dict[str, KmirrorError] = {}

    async def fill(topic: str, topic_id: bytes, partition: int, start: int) -> None:
        async with room:
            try:
                await _fill(cluster, topic, topic_id, partition, start)
            except ClusterError as e:
                faults[topic] = e

    try:
        await asyncio.gather(
            *(
                fill(topic, topic_id_bytes(topic_id), partition, start)
                for topic, (topic_id, starts) in topics.items()
                for partition, start in starts.items()
                if start > 0
            )
        )
    finally:
        cluster.close()
    return faults


async def _fill(cluster: Cluster, topic: str, topic_id: bytes, partition: int, start: int) -> None:
    backoff = Backoff()
    fault: ClusterError | None = None
    for _ in range(_TRIES):
        try:
            end = await _fill_on(cluster, topic, topic_id, partition, start)
        except ClusterError as e:
            fault = e
            # What was in flight may still land: nothing here is protected by a sequence.
            await asyncio.sleep(_SETTLE_S if isinstance(e, ConnectionLost) else backoff.next())
            continue
        if end != start:
            raise ClusterError(f"{topic}[{partition}] has its log end at {end}, where it should be {start}")
        return
    assert fault
    raise fault


async def _fill_on(cluster: Cluster, topic: str, topic_id: bytes, partition: int, start: int) -> int:
    """Fills from the log end on; returns the new one."""
    await cluster.refresh([topic])
    node = cluster.leader(topic, partition)
    if node is None:
        raise ClusterError(f"no leader for {topic}[{partition}]")
    connection = await cluster.connection(node, "filler")
    version = produce_version(connection)
    end = await rpc.log_end(connection, topic, partition)
    while end < start:
        count = min(MOST_RECORDS, start - end)
        item = ProducePartition(topic, topic_id, partition, _filler(count))
        body = wire_produce.encode_produce(version, [item], timeout_ms=_ACK_MS)
        frame = await connection.send(wire_produce.API_KEY, version, body, flexible=True, timeout=2 * _ACK_MS / 1000)
        _, answers = wire_produce.decode_produce(frame, version)
        check(answers[0].error, f"Produce {topic}[{partition}]")
        if answers[0].base_offset != end:
            raise ClusterError(f"somebody else writes to {topic}[{partition}]")
        end += count
    return await rpc.log_end(connection, topic, partition)


@lru_cache(maxsize=4)
def _filler(count: int) -> memoryview:
    return filler_batch(count, now_ms())
