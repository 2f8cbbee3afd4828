"""The independent way to compare a mirror with its source: plain consumers, as any application has them.

Nothing here reads bytes by kmirror's own code, so that a fault of the copy can't hide in how it is looked at. Three
consumers read a partition side by side: the source at read_committed, the mirror at both levels.
"""

import time
from collections.abc import Iterator
from typing import Final, cast

from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from kmirror.admin.client_conf import client_conf
from kmirror.admin.failures import PASSING
from kmirror.errors import ClusterError, NotReached
from kmirror.model.access import Access
from kmirror.model.compaction import Compaction
from kmirror.model.verification import (
    Difference,
    Level,
    PartitionPlan,
    Shown,
    TopicPlan,
    Watcher,
    What,
    parts_that_differ,
)

_AT_A_TIME: Final = 1000
_POLL_S: Final = 0.1
_SILENCE_S: Final = 30.0
_QUEUE_KIB: Final = 16_384
_TELL_EVERY: Final = 1000
_NEAR: Final = 100  # markers may stand beside a gap

Place = tuple[int, Shown]
"""An offset and what is shown there."""


def compare_consumed(source: Access, destination: Access, plan: TopicPlan, watcher: Watcher) -> None:
    """Compares all that `plan` names. Blocks; raises ClusterError, NotReached where that can't be done."""
    readers = (
        Reader(source, plan.source_topic, "read_committed", watcher),
        Reader(destination, plan.topic, "read_committed", watcher),
        Reader(destination, plan.topic, "read_uncommitted", watcher),
    )
    try:
        for partition in plan.partitions:
            compaction = Compaction(watcher.found) if plan.compacted else None
            for span in partition.spans:
                if watcher.ended():
                    return
                _compare_span(readers, partition, span, watcher, compaction)
            if compaction is not None:
                compaction.finish(whole=len(partition.spans) == 1 and not watcher.ended())
                watcher.removed(partition.partition, compaction.removed)
    finally:
        for reader in readers:
            reader.close()


def _compare_span(
    readers: tuple["Reader", "Reader", "Reader"],
    plan: PartitionPlan,
    span: range,
    watcher: Watcher,
    compaction: Compaction | None,
) -> None:
    found = watcher.found if compaction is None else compaction.add
    number, start = plan.partition, span.start
    truth = readers[0].read(number, range(start, min(span.stop, plan.source_end)))
    committed = readers[1].read(number, range(start, min(span.stop, plan.stable_end)))
    adopted = span.stop <= plan.adopted_end
    uncommitted = iter(()) if adopted else readers[2].read(number, span)
    heads = [next(truth, None), next(committed, None), next(uncommitted, None)]
    streams = (truth, committed, uncommitted)
    position, records, size = start, 0, 0
    while any(heads) and not watcher.ended():
        offset = min(head[0] for head in heads if head)
        shown = [head[1] if head and head[0] == offset else None for head in heads]
        if compaction is not None and compaction.waiting:
            for record in shown:
                compaction.seen(record.key if record else None)
        if adopted:
            shown[2] = shown[1]
        for difference in _differences(number, offset, *shown):
            found(difference)
        if shown[0]:
            records += 1
            size += len(shown[0].key or b"") + len(shown[0].value or b"")
        heads = [
            next(stream, None) if head and head[0] == offset else head
            for head, stream in zip(heads, streams, strict=True)
        ]
        if records == _TELL_EVERY:
            watcher.compared(offset + 1 - position, records, size)
            position, records, size = offset + 1, 0, 0
    if not watcher.ended():
        watcher.compared(span.stop - position, records, size)


def _differences(
    partition: int, offset: int, truth: Shown | None, committed: Shown | None, uncommitted: Shown | None
) -> Iterator[Difference]:
    if truth == committed == uncommitted:
        return
    at_committed, at_uncommitted = _what(truth, committed), _what(truth, uncommitted)
    if at_committed == at_uncommitted and committed == uncommitted:
        yield Difference(partition, offset, at_committed, Level.BOTH, truth, committed)
        return
    for what, level, ours in (
        (at_committed, Level.COMMITTED, committed),
        (at_uncommitted, Level.UNCOMMITTED, uncommitted),
    ):
        if what:
            yield Difference(partition, offset, what, level, truth, ours)


def _what(truth: Shown | None, ours: Shown | None) -> tuple[What, ...]:
    if truth is None or ours is None:
        return () if truth is ours else ((What.EXTRA,) if truth is None else (What.MISSING,))
    return parts_that_differ(truth, ours)


def times_around(
    access: Access, topic: str, partition: int, gap: range, bounds: range
) -> tuple[int | None, int | None]:
    """Timestamps of the last record before `gap` and of the first one behind it; None where there is none near.

    `bounds` are the log's start and end. Blocks; raises ClusterError, NotReached.
    """
    reader = Reader(access, topic, "read_uncommitted", None)
    try:
        near = range(max(bounds.start, gap.start - _NEAR), min(gap.start, bounds.stop))
        before = [shown.timestamp for _, shown in reader.read(partition, near)]
        behind = range(max(gap.stop, bounds.start), min(gap.stop + _NEAR, bounds.stop))
        first = next((shown.timestamp for _, shown in reader.read(partition, behind)), None)
    finally:
        reader.close()
    return before[-1] if before else None, first


class Reader:
    """A plain consumer of one topic, which reads spans of its partitions at one isolation level."""

    def __init__(self, access: Access, topic: str, isolation: str, watcher: Watcher | None) -> None:
        self._topic = topic
        self._where = f'topic "{topic}" at {access}'
        self._watcher = watcher
        with client_conf(
            access,
            {
                "group.id": "kmirror-verify",  # asked for by the library; nothing is committed
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "allow.auto.create.topics": False,
                "auto.offset.reset": "error",
                "isolation.level": isolation,
                "check.crcs": True,
                "queued.max.messages.kbytes": _QUEUE_KIB,
                "fetch.queue.backoff.ms": 5,  # a second by default, whenever the queue is full
                "fetch.wait.max.ms": 100,
            },
        ) as conf:
            self._consumer = Consumer(conf)

    def close(self) -> None:
        self._consumer.close()

    def read(self, partition: int, span: range) -> Iterator[Place]:
        """The records of these offsets; ends early where the comparison is to end."""
        if not span:
            return
        self._consumer.assign([TopicPartition(self._topic, partition, span.start)])
        deadline = time.monotonic() + _SILENCE_S
        while self._watcher is None or not self._watcher.ended():
            for message in self._consumer.consume(_AT_A_TIME, timeout=_POLL_S):
                error, offset = message.error(), message.offset()
                if error is not None and error.code() in PASSING:
                    continue
                if error is not None and error.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001
                    raise ClusterError(f"cannot read partition {partition} of {self._where}: {error.str()}")
                deadline = time.monotonic() + _SILENCE_S
                assert offset is not None  # a record and the end of a partition both have one
                if error is None and offset < span.stop:
                    yield offset, _shown(message)
                if offset >= span.stop - (error is None):
                    return
            if time.monotonic() > deadline:
                raise NotReached(f"partition {partition} of {self._where} gave no record for {_SILENCE_S:.0f} s")


def _shown(message: Message) -> Shown:
    # The library types headers as whatever can be sent; what it hands out is a list of pairs, in order.
    pairs = cast("list[tuple[str, bytes | None]]", message.headers() or [])
    return Shown(message.key(), message.value(), tuple(pairs), message.timestamp()[1])
