"""Opening a partition: where does the destination's log end, which sequence is next, and is its tail the source's?"""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from kmirror.engine.copy import PartitionCopy
from kmirror.engine.fence import Fence
from kmirror.engine.identity import Identity
from kmirror.engine.steps import Step, Stop
from kmirror.engine.tail import SourceView, compare_tail
from kmirror.engine.transactions import Transactions
from kmirror.engine.translate import translate
from kmirror.errors import ClusterError
from kmirror.model.failures import Failure
from kmirror.model.mirror import MirrorError
from kmirror.wire import batch as wire
from kmirror.wire import fetch as wire_fetch
from kmirror.wire import rpc
from kmirror.wire.cluster import Cluster
from kmirror.wire.connection import Connection
from kmirror.wire.errors import OFFSET_OUT_OF_RANGE, ProtocolError, check
from kmirror.wire.fetch import Fetched, FetchPartition

_CHECK_BYTES: Final = 1 << 20
_ANSWER_S: Final = 30.0
_SETTLE_S: Final = 1.0
BEHIND_A_MARKER: Final = 100
"""So many offsets before a marker at its end the tail check looks at, too."""


class NotReady(ClusterError):
    """Passes by itself: no leader yet, or a high watermark that is still behind the log end."""


class HeldBack(NotReady):
    """A quota has a broker answer without what was asked for. The connection knows how long it stays silent."""


class SourceTrouble(ClusterError):
    """Something that may pass, at the source: the destination is well."""


class Broken(Exception):  # not an error of ours: it carries the end of a mirror to its owner
    """The mirror can't go on: `error` says why."""

    def __init__(self, error: MirrorError) -> None:
        super().__init__(error.message)
        self.error = error


@dataclass(frozen=True, slots=True)
class Sides:
    """Both clusters of a link, and what it is at the destination."""

    source: Cluster
    destination: Cluster
    identity: Identity
    transactions: Transactions
    fence: Fence


async def open_partition(copy: PartitionCopy, sides: Sides) -> None:
    """Reads the state of the destination's partition and makes `copy` open.

    Raises ClusterError for what may pass (SourceTrouble where the source is the cause), Broken where the contract
    does not hold.
    """
    topic, partition = copy.topic, copy.partition
    await sides.transactions.settle(copy)
    late = _token_of_what_may_be_late(copy)
    if late is not None:
        # From now on what is older is refused where a marker of the new token was written.
        await sides.identity.renew(late)
    held_since = sides.identity.held_since
    if copy.marker_in_doubt is not None or copy.settle_first:
        await settle(copy, sides.destination)
        copy.sure_since = held_since
    elif sides.identity.is_first:
        copy.sure_since = held_since
    copy.held_since = held_since
    node, connection = await _leader(sides.destination, topic, copy.topic_id, partition, "produce")
    producer_id = sides.identity.producer_id
    assert producer_id is not None
    while True:
        before = await rpc.producer_state(connection, topic, partition, producer_id)
        end = await rpc.log_end(connection, topic, partition)
        if before == await rpc.producer_state(connection, topic, partition, producer_id):
            break
    sides.identity.check(before)
    epoch = await _check_tail(copy, sides, end) if end > 0 else -1
    copy.opened(node, end, before, epoch)


def _token_of_what_may_be_late(copy: PartitionCopy) -> int | None:
    """The run token of what may still land, and has to be refused behind the next marker; None where nothing may."""
    if copy.marker_in_doubt is None and copy.in_doubt and copy.settle_first:
        return copy.appender.epoch
    return copy.marker_in_doubt


async def settle(copy: PartitionCopy, destination: Cluster) -> None:
    """Waits until nothing late of ours can land any more: two readings of the log end, 1 s apart, that agree.

    Needed before others may write to a partition whose last batches were in doubt. Raises ClusterError.
    """
    _, connection = await _leader(destination, copy.topic, copy.topic_id, copy.partition, "produce")
    end = await rpc.log_end(connection, copy.topic, copy.partition)
    await asyncio.sleep(_SETTLE_S)
    if end != await rpc.log_end(connection, copy.topic, copy.partition):
        raise NotReady(f"{copy.name} has not settled")
    copy.appender.log_end = end
    copy.in_doubt = False
    copy.settle_first = False
    copy.marker_in_doubt = None


async def _leader(
    cluster: Cluster, topic: str, topic_id: bytes, partition: int, purpose: str
) -> tuple[int, Connection]:
    where = f"{cluster.role} {topic}[{partition}]"
    found = cluster.topics.get(topic)
    if found is None or found.topic_id != topic_id:
        raise NotReady(f"{where} is not known to the cluster", code="UNKNOWN_TOPIC_OR_PARTITION_ERROR")
    node = cluster.leader(topic, partition)
    if node is None:
        raise NotReady(f"no leader for {where}")
    return node, await cluster.connection(node, purpose)


async def _check_tail(copy: PartitionCopy, sides: Sides, end: int) -> int:
    """Returns the leader epoch of the source's batch before `end`, -1 where the source does not hold it any more."""
    with _source_trouble():
        source_start, source_end = await source_bounds(copy, sides.source)
    if end > source_end:
        message = (
            f"the mirror's log end {end} is beyond the source's {source_end}: "
            "the source lost records, or somebody else wrote to the mirror"
        )
        raise Broken(MirrorError(Failure.UNEXPECTED_TRUNCATION, message, copy.partition, source_end))
    tail = await _last_batches(copy, sides.destination, end - 1)
    if tail and wire.header(tail[-1]).attributes & wire.CONTROL:
        # Somebody's transaction would end with a marker: its records stand before it.
        tail = await _last_batches(copy, sides.destination, max(0, end - BEHIND_A_MARKER)) or tail
    if not tail or source_start >= end:
        return -1  # nothing left to compare: retention took it at one side
    first = wire.header(tail[0]).base_offset
    with _source_trouble():
        view = await _source_view(copy, sides.source, max(first, source_start), end)
    try:
        difference = compare_tail(tail, view, copy.adopted_end)
    except ValueError as e:
        raise Broken(
            MirrorError(Failure.CORRUPT_BATCH, f"the tail check can't read it: {e}", copy.partition, first)
        ) from e
    if difference and _is_marker(tail, difference.offset):
        message = f"the mirror has {difference.what}: a marker of an earlier run arrived late, or somebody else's"
        raise Broken(MirrorError(Failure.MARKER_OVERRUN, message, copy.partition, difference.offset))
    if difference and _is_ours(tail, difference.offset, sides.identity):
        message = (
            f"the source's record at offset {difference.offset} is not the one that was mirrored ({difference.what}): "
            "the source's log was cut and went on with other records"
        )
        raise Broken(MirrorError(Failure.UNEXPECTED_TRUNCATION, message, copy.partition, difference.offset))
    if difference:
        message = (
            f"the mirror's record at offset {difference.offset} is not the source's ({difference.what}): "
            "somebody else wrote to the mirror topic"
        )
        raise Broken(MirrorError(Failure.FOREIGN_WRITER, message, copy.partition, difference.offset))
    return view.epoch_before(end)


def _is_ours(tail: Sequence[memoryview], offset: int, identity: Identity) -> bool:
    """Whether the link itself wrote what the mirror holds at `offset`: then it was the source that changed."""
    headers = [wire.header(batch) for batch in tail]
    return any(h.base_offset <= offset <= h.last_offset and h.producer_id == identity.producer_id for h in headers)


def _is_marker(tail: Sequence[memoryview], offset: int) -> bool:
    headers = [wire.header(batch) for batch in tail]
    return any(h.base_offset == offset and h.attributes & wire.CONTROL for h in headers)


@contextmanager
def _source_trouble() -> Iterator[None]:
    try:
        yield
    except ClusterError as e:
        raise SourceTrouble(e.message, hint=e.hint, code=e.code) from e


async def source_bounds(copy: PartitionCopy, source: Cluster) -> tuple[int, int]:
    """(log start, log end) of the source's partition."""
    topic, partition = copy.source_topic, copy.partition
    _, connection = await _leader(source, topic, copy.source_topic_id, partition, "check")
    start = await rpc.list_offset(connection, topic, partition, at=rpc.EARLIEST, replica=rpc.AS_CONSUMER)
    return start, await rpc.log_end(connection, topic, partition)


async def _last_batches(copy: PartitionCopy, destination: Cluster, offset: int) -> list[memoryview]:
    """The destination's batches from `offset` to its end; none where its log does not hold `offset` (any more)."""
    out: list[memoryview] = []
    while True:
        found = await _fetch(
            destination, FetchPartition(copy.topic, copy.topic_id, copy.partition, offset, _CHECK_BYTES)
        )
        if found.error == OFFSET_OUT_OF_RANGE:
            return out
        check(found.error, f"Fetch {copy.name}")
        batches = [batch.data for batch in wire.split(found.records)]
        if not batches and not out:
            raise NotReady(f"the high watermark of {copy.name} is behind its log end")
        out += batches
        if not batches or wire.header(batches[-1]).last_offset + 1 >= found.high_watermark:
            return out
        offset = wire.header(batches[-1]).last_offset + 1


async def _source_view(copy: PartitionCopy, source: Cluster, start: int, end: int) -> SourceView:
    """The source's offsets from `start` to before `end`, as a read_committed reader sees them."""
    batches: list[memoryview] = []
    steps: list[Step] = []
    position = start
    while position < end:
        item = FetchPartition(copy.source_topic, copy.source_topic_id, copy.partition, position, _CHECK_BYTES)
        found = await _fetch(source, item, isolation=wire_fetch.READ_COMMITTED)
        where = f"{copy.source_topic}[{copy.partition}]"
        check(found.error, f"Fetch {where}")
        new = list(translate(found.records, position, found.aborted))
        if not new:
            raise NotReady(f"the source does not show offset {position} of {where} yet")
        if isinstance(new[-1], Stop):
            raise Broken(MirrorError(new[-1].code, new[-1].message, copy.partition, new[-1].base))
        batches += [batch.data for batch in wire.split(found.records)]
        steps += new
        position = new[-1].base + new[-1].count
    return SourceView(batches, steps)


async def _fetch(cluster: Cluster, item: FetchPartition, *, isolation: int = wire_fetch.READ_UNCOMMITTED) -> Fetched:
    _, connection = await _leader(cluster, item.topic, item.topic_id, item.partition, "check")
    return await fetch_one(connection, item, max_wait_ms=0, isolation=isolation)


async def fetch_one(connection: Connection, item: FetchPartition, *, max_wait_ms: int, isolation: int) -> Fetched:
    """Of one partition alone; its own error is not looked at. Raises HeldBack: asking again waits as long as needed."""
    where = f"Fetch {item.topic}[{item.partition}]"
    version = fetch_version(connection)
    body = wire_fetch.encode_fetch(
        version, [item], max_wait_ms=max_wait_ms, max_bytes=item.max_bytes, isolation=isolation
    )
    await connection.unthrottled()
    frame = await connection.send(wire_fetch.API_KEY, version, [body], flexible=True, timeout=_ANSWER_S)
    throttle_ms, error, partitions, _ = wire_fetch.decode_fetch(frame, version)
    connection.throttled(throttle_ms)
    check(error, where)
    if not partitions and throttle_ms > 0:  # ClientQuotaManager: over its quota a client gets an empty answer
        raise HeldBack(f"{where}: {connection.name} holds it back for {throttle_ms} ms by a quota")
    if len(partitions) != 1:
        raise ProtocolError(f"{where}: {connection.name} answers for {len(partitions)} partitions")
    return partitions[0]


def fetch_version(connection: Connection) -> int:
    """By topic id where the broker can: a recreated topic is then never mistaken for the old one."""
    return connection.version_of(wire_fetch.API_KEY, wire_fetch.BY_NAME, wire_fetch.BY_ID)
