"""What a fetch brought for one partition: translated and queued, or the reason why not."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from kmirror.engine.coalesce import SMALL_BYTES, run_bytes
from kmirror.engine.copy import PartitionCopy
from kmirror.engine.denied import explained
from kmirror.engine.reencode import reencode
from kmirror.engine.steps import Append, Fill, Form, Gap, Reencode, Step, Stop
from kmirror.engine.translate import translate
from kmirror.log import events
from kmirror.model.access import Access
from kmirror.model.failures import Failure
from kmirror.model.mirror import MirrorError
from kmirror.model.rights import Need
from kmirror.wire import batch as wire
from kmirror.wire.connection import MAX_FRAME_BYTES
from kmirror.wire.errors import CORRUPT_MESSAGE, OFFSET_OUT_OF_RANGE, BrokerError, is_authorization, is_retriable
from kmirror.wire.fetch import Fetched

log = events(__name__)

RETRY_S: Final = 0.25


@dataclass(frozen=True, slots=True)
class FetchEvents:
    """Who is told. `on_ready`: a partition has something to send. `on_end`: it can't go on. `on_out_of_range`: the
    source does not hold its position. `on_moved`: it is to be fetched from another replica. `on_stale`: leaders or
    topic ids have to be read again.
    """

    on_ready: Callable[[PartitionCopy], None]
    on_end: Callable[[PartitionCopy, MirrorError], None]
    on_out_of_range: Callable[[PartitionCopy], None]
    on_moved: Callable[[PartitionCopy], None]
    on_stale: Callable[[], None]


class Intake:
    """Of what source broker `node` answers."""

    def __init__(self, node: int, access: Access, tell: FetchEvents) -> None:
        self._node = node
        self._access = access
        self._tell = tell

    def take(self, copy: PartitionCopy, fetched: Fetched, *, leader: int | None) -> int | None:
        """Queues what came for one partition; returns how many bytes it keeps.

        None: the answer does not tell how the partition stands at the source.
        """
        if fetched.preferred >= 0 and fetched.preferred != self._node:
            log.debug("a nearer replica is fetched from", topic=copy.topic, partition=copy.partition)
            copy.nearby.take(fetched.preferred, leader)
            self._tell.on_moved(copy)
            return None
        follows = leader != self._node
        most_bytes = (SMALL_BYTES, run_bytes(fetched.records, copy.merged_bytes))
        steps = list(translate(fetched.records, copy.position, fetched.aborted, most_bytes, fetched.piped))
        if follows and (fetched.error or fetched.diverging is not None or any(map(_needs_leader, steps))):
            # It may be behind, begin later, or be compacted further: how the log is the leader says.
            copy.nearby.leave()
            self._tell.on_moved(copy)
            return None
        if fetched.error:
            self._refused(copy, fetched.error)
            return None
        if fetched.diverging is not None:
            message = f"the source's log was cut at offset {fetched.diverging} and went on with other records"
            self._tell.on_end(copy, MirrorError(Failure.UNEXPECTED_TRUNCATION, message, offset=fetched.diverging))
            return None
        return self._queue(copy, fetched, steps)

    def _queue(self, copy: PartitionCopy, fetched: Fetched, steps: Sequence[Step]) -> int:
        sendable: list[Append | Fill] = []
        start = copy.position
        last = steps[-1] if steps else None
        copy.small = isinstance(last, Append) and last.source_batches > 1
        copy.piped = isinstance(last, Append) and last.pipe is not None
        for step in self._sendable(steps):
            if copy.limit is not None and step.base >= copy.limit:
                break
            if isinstance(step, Stop):
                copy.ending = step
                break
            sendable.append(step)
        copy.enqueue(*sendable)
        if copy.limit is not None:
            copy.cut_at(copy.limit)
        if copy.position > start:
            copy.position_epoch = _epoch_before(copy.position, steps, fetched)
        if copy.ending is None and copy.position == start and len(fetched.records):
            self._want_more(copy, wire.first_batch_bytes(fetched.records) or 0)
        else:
            copy.fetch_bytes = 0
        if copy.position > start:
            self._tell.on_ready(copy)
        elif copy.ending is not None and copy.drained:
            self.end(copy)
        return sum([step.size for step in sendable])

    def _want_more(self, copy: PartitionCopy, size: int) -> None:
        """The next batch did not fit into what was asked for: ask for all of it."""
        if size > MAX_FRAME_BYTES:
            message = f"the batch at offset {copy.position} says that it has {size} bytes"
            self._tell.on_end(copy, MirrorError(Failure.CORRUPT_BATCH, message, offset=copy.position))
        copy.fetch_bytes = size

    @staticmethod
    def _sendable(steps: Iterable[Step]) -> Iterator[Append | Fill | Stop]:
        for step in steps:
            if not isinstance(step, Reencode):
                yield step
                continue
            try:
                yield from reencode(step)
            except ValueError as e:
                yield Stop(step.base, Failure.CORRUPT_BATCH, str(e))
                return

    def end(self, copy: PartitionCopy) -> None:
        """All before the step that ends the copy is copied: tell why it ends."""
        assert copy.ending is not None
        self._tell.on_end(copy, MirrorError(copy.ending.code, copy.ending.message, offset=copy.ending.base))

    def _refused(self, copy: PartitionCopy, code: int) -> None:
        error = BrokerError(code, f"Fetch {copy.name}")
        if code == OFFSET_OUT_OF_RANGE:
            copy.retry_fetch_at = time.monotonic() + RETRY_S
            self._tell.on_out_of_range(copy)
        elif code == CORRUPT_MESSAGE:
            message = f"the source's broker finds its own log damaged at offset {copy.position}"
            self._tell.on_end(copy, MirrorError(Failure.CORRUPT_BATCH, message, offset=copy.position))
        elif is_retriable(code) or is_authorization(code):
            need = Need("TOPIC", "READ", copy.source_topic)
            copy.in_trouble(explained(error, self._access, need=need), at_source=True)
            copy.retry_fetch_at = time.monotonic() + RETRY_S
            self._tell.on_stale()
        else:
            self._tell.on_end(copy, MirrorError(Failure.SOURCE_REFUSED, str(error), offset=copy.position))


def _epoch_before(position: int, steps: Sequence[Step], fetched: Fetched) -> int:
    """The leader epoch of the batch before `position`: of a run of batches it is one, so most need not be looked at."""
    last = steps[-1]
    if isinstance(last, Append) and last.end == position:
        return wire.leader_epoch(last.batch)
    return wire.epoch_before(fetched.records, position, fetched.missing)


def _needs_leader(step: Step) -> bool:
    """Holes are each replica's own, as its cleaner has left them, and damage is, too."""
    if isinstance(step, Reencode):
        return step.form is Form.HOLES
    return isinstance(step, Stop) or (isinstance(step, Fill) and step.gap is Gap.HOLE)
