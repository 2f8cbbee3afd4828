"""Opening a partition: where does the destination's log end, which sequence is next, and is its tail the source's?"""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from kmirror.engine.copy import PartitionCopy
from kmirror.engine.fence import Fence
from kmirror.engine.identity import Identity
from kmirror.engine.questions import NotReady, Questions
from kmirror.engine.steps import Step, Stop
from kmirror.engine.tail import SourceView, compare_tail
from kmirror.engine.transactions import Transactions
from kmirror.engine.translate import translate
from kmirror.errors import ClusterError
from kmirror.model.failures import Failure
from kmirror.model.mirror import MirrorError
from kmirror.wire import batch as wire
from kmirror.wire import fetch as wire_fetch
from kmirror.wire.cluster import Cluster
from kmirror.wire.errors import OFFSET_OUT_OF_RANGE, check
from kmirror.wire.fetch import FetchPartition

_TAIL_CHECKS: Final = 64
"""At once: each holds batches of both sides, about as many bytes as were appended last."""
_CHECK_BYTES: Final = 1 << 20
_LEAST_VIEW_BYTES: Final = 64 << 10
_SETTLE_S: Final = 1.0
BEHIND_A_MARKER: Final = 100
"""So many offsets before a marker at its end the tail check looks at, too."""


class SourceTrouble(ClusterError):
    """Something that may pass, at the source: the destination is well."""


class Broken(Exception):  # not an error of ours: it carries the end of a mirror to its owner
    """The mirror can't go on: `error` says why."""

    def __init__(self, error: MirrorError) -> None:
        super().__init__(error.message)
        self.error = error


@dataclass(frozen=True, slots=True)
class Sides:
    """Both clusters of a link, what is asked of them, and what the link is at the destination."""

    source: Cluster
    destination: Cluster
    at_source: Questions
    at_destination: Questions
    identity: Identity
    transactions: Transactions
    fence: Fence
    tail_checks: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_TAIL_CHECKS))


async def open_partition(copy: PartitionCopy, sides: Sides) -> None:
    """Reads the state of the destination's partition and makes `copy` open.

    Raises ClusterError for what may pass (SourceTrouble where the source is the cause), Broken where the contract
    does not hold.
    """
    await sides.transactions.settle(copy)
    late = _token_of_what_may_be_late(copy)
    if late is not None:
        # From now on what is older is refused where a marker of the new token was written.
        await sides.identity.renew(late)
    held_since = sides.identity.held_since
    if copy.marker_in_doubt is not None or copy.settle_first:
        await settle(copy, sides.at_destination)
        copy.sure_since = held_since
    elif sides.identity.is_first:
        copy.sure_since = held_since
    copy.held_since = held_since
    ask = sides.at_destination
    where = ask.where(copy.topic, copy.topic_id, copy.partition)
    producer_id = sides.identity.producer_id
    assert producer_id is not None
    while True:
        before = await ask.producer_state(where, producer_id)
        end = await ask.log_end(where)
        if before == await ask.producer_state(where, producer_id):
            break
    sides.identity.check(before)
    epoch = await _check_tail(copy, sides, end) if end > 0 else -1
    copy.opened(where.node, end, before, epoch)


def _token_of_what_may_be_late(copy: PartitionCopy) -> int | None:
    """The run token of what may still land, and has to be refused behind the next marker; None where nothing may."""
    if copy.marker_in_doubt is None and copy.in_doubt and copy.settle_first:
        return copy.appender.epoch
    return copy.marker_in_doubt


async def settle(copy: PartitionCopy, destination: Questions) -> None:
    """Waits until nothing late of ours can land any more: two readings of the log end, 1 s apart, that agree.

    Needed before others may write to a partition whose last batches were in doubt. Raises ClusterError.
    """
    where = destination.where(copy.topic, copy.topic_id, copy.partition)
    end = await destination.log_end(where)
    await asyncio.sleep(_SETTLE_S)
    if end != await destination.log_end(where):
        raise NotReady(f"{copy.name} has not settled")
    copy.appender.log_end = end
    copy.in_doubt = False
    copy.settle_first = False
    copy.marker_in_doubt = None


async def _check_tail(copy: PartitionCopy, sides: Sides, end: int) -> int:
    """Returns the leader epoch of the source's batch before `end`, -1 where the source does not hold it any more."""
    with _source_trouble():
        source_start, source_end = await source_bounds(copy, sides.at_source)
    if end > source_end:
        message = (
            f"the mirror's log end {end} is beyond the source's {source_end}: "
            "the source lost records, or somebody else wrote to the mirror"
        )
        raise Broken(MirrorError(Failure.UNEXPECTED_TRUNCATION, message, copy.partition, source_end))
    async with sides.tail_checks:
        return await _compare_tails(copy, sides, end, source_start)


async def _compare_tails(copy: PartitionCopy, sides: Sides, end: int, source_start: int) -> int:
    tail = await _last_batches(copy, sides.at_destination, end - 1)
    if tail and wire.header(tail[-1]).attributes & wire.CONTROL:
        # Somebody's transaction would end with a marker: its records stand before it.
        tail = await _last_batches(copy, sides.at_destination, max(0, end - BEHIND_A_MARKER)) or tail
    if not tail or source_start >= end:
        return -1  # nothing left to compare: retention took it at one side
    first = wire.header(tail[0]).base_offset
    with _source_trouble():
        view = await _source_view(copy, sides.at_source, max(first, source_start), end, like=tail)
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


async def source_bounds(copy: PartitionCopy, source: Questions) -> tuple[int, int]:
    """(log start, log end) of the source's partition."""
    where = source.where(copy.source_topic, copy.source_topic_id, copy.partition)
    return await source.log_start(where), await source.log_end(where)


async def _last_batches(copy: PartitionCopy, destination: Questions, offset: int) -> list[memoryview]:
    """The destination's batches from `offset` to its end; none where its log does not hold `offset` (any more)."""
    out: list[memoryview] = []
    while True:
        item = FetchPartition(copy.topic, copy.topic_id, copy.partition, offset, _CHECK_BYTES)
        found = await destination.fetch(item)
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


async def _source_view(
    copy: PartitionCopy, source: Questions, start: int, end: int, *, like: Sequence[memoryview]
) -> SourceView:
    """The source's offsets from `start` to before `end`, as a read_committed reader sees them.

    Batches `like` those of the destination: what the source has behind them need not come, too.
    """
    most = min(_CHECK_BYTES, max(_LEAST_VIEW_BYTES, 2 * sum(map(len, like))))
    batches: list[memoryview] = []
    steps: list[Step] = []
    position = start
    while position < end:
        item = FetchPartition(copy.source_topic, copy.source_topic_id, copy.partition, position, most)
        found = await source.fetch(item, isolation=wire_fetch.READ_COMMITTED)
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
