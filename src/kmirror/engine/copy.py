"""The copy of one partition: what it has fetched, what is on its way, and how it stands."""

import time
from collections import deque
from typing import Final, Protocol

from kmirror.engine.appender import Appender
from kmirror.engine.backoff import Backoff
from kmirror.engine.budget import Budget
from kmirror.engine.coalesce import MERGED_BYTES, PACKED_BYTES, SMALL_BYTES, before, take
from kmirror.engine.counters import MirrorCounters
from kmirror.engine.lag import Sight, SourceEnds, age_ms
from kmirror.engine.nearby import Nearby
from kmirror.engine.steps import Append, Fill, Gap, Stop
from kmirror.errors import with_remedy
from kmirror.model.failures import Failure
from kmirror.model.mirror import Mirror, MirrorError
from kmirror.model.status import PartitionState, PartitionStatus, Trouble
from kmirror.wire import batch as wire
from kmirror.wire.producer_state import ProducerState
from kmirror.wire.topic_id import topic_id_bytes

_MOST_STEPS: Final = 2000
_SHOWN_AFTER_MS: Final = 2000  # a leader that moves is not yet a trouble to tell of


def now_ms() -> int:
    return time.time_ns() // 1_000_000


class Watcher(Protocol):
    """Who fetches for a partition: see `engine/lane.py`."""

    def touch(self, copy: "PartitionCopy") -> None: ...

    def made_room(self, copy: "PartitionCopy") -> None: ...

    def awaits(self, copy: "PartitionCopy") -> bool: ...

    def release(self, copy: "PartitionCopy") -> None: ...


class PartitionCopy:
    """State of one partition, changed by its opener, its source's fetcher and its destination's producer alone.

    `marking`: a marker request is on its way. `in_doubt`: something was on its way when its connection broke;
    `marker_in_doubt`: it was a marker, sent with this run token; `settle_first`: nothing is sent until it is settled.
    `sure_since`: with the link held since this token (`Identity.held_since`), the partition was settled or took
    something of ours, so that nothing of an earlier run can land any more; `fenced_by`: it took a marker with this
    token, so that whatever is older is refused.
    `position` is the next source offset to fetch; `generation` grows with every reopening, so that a fetch that was
    under way meanwhile is dropped. `merged_bytes`: small batches are merged up to so many bytes; 0: never.
    `lane`: who fetches for it, and is told of all that changes what is to be fetched. `far`: the destination is a long
    way off, so that larger batches are merged too. `suspect`: the destination found a batch damaged; until it takes one
    they come to memory, where the source's checksum is looked at. `pipeline`: of those to `node` the one that its
    batches take; `next_pipeline`: the one they are to take once none is on its way (`engine/pipelines.py`).
    """

    __slots__ = (  # a link may have a hundred thousand of them
        "__weakref__",
        "_answers_seen",
        "_budget",
        "_last_timestamp",
        "_merged_most",
        "_queue",
        "_queue_bytes",
        "_sight",
        "_source_ends",
        "adopted_end",
        "appender",
        "backoff",
        "bridging",
        "counters",
        "destination_trouble",
        "ending",
        "far",
        "fenced_by",
        "fetch_bytes",
        "fetched_ms",
        "generation",
        "held_since",
        "in_doubt",
        "is_open",
        "lane",
        "limit",
        "marker_in_doubt",
        "marking",
        "merged_bytes",
        "nearby",
        "next_pipeline",
        "node",
        "partition",
        "piped",
        "pipeline",
        "position",
        "position_epoch",
        "retry_fetch_at",
        "settle_first",
        "small",
        "source_end",
        "source_topic",
        "source_topic_id",
        "source_trouble",
        "sure_since",
        "suspect",
        "topic",
        "topic_id",
        "write_denied",
    )

    def __init__(
        self,
        mirror: Mirror,
        partition: int,
        budget: Budget,
        counters: MirrorCounters | None = None,
        *,
        merged_bytes: int = 0,
    ) -> None:
        self.topic = mirror.topic
        self.topic_id = topic_id_bytes(mirror.destination_topic_id)
        self.source_topic = mirror.source_topic
        self.source_topic_id = topic_id_bytes(mirror.source_topic_id)
        self.partition = partition
        self.adopted_end = mirror.adopted_ends[partition] if partition < len(mirror.adopted_ends) else 0
        self.appender = Appender()
        self.is_open = False
        self.bridging = False
        self.marking = False
        self.in_doubt = False
        self.settle_first = False
        self.marker_in_doubt: int | None = None
        self.held_since: int | None = None
        self.sure_since: int | None = None
        self.fenced_by: int | None = None
        self.generation = 0
        self.position = 0
        self.position_epoch = -1
        self.limit: int | None = None
        self.node = -1
        self.pipeline = self.next_pipeline = 0
        self.ending: Stop | None = None
        self.fetch_bytes = 0
        self.small = False
        """What came last were small batches, several at a time."""
        self.piped = False
        """What came last waits in a pipe."""
        self.source_end: int | None = None
        self.fetched_ms: int | None = None
        self.source_trouble: Trouble | None = None
        self.destination_trouble: Trouble | None = None
        self.write_denied = False
        """Then an opening tells nothing: only a batch that is taken ends the trouble."""
        self.backoff = Backoff()
        self.retry_fetch_at = 0.0
        self.merged_bytes = merged_bytes
        self.lane: Watcher | None = None
        self.nearby = Nearby()
        self.far = False
        self.suspect = False
        self._merged_most = MERGED_BYTES
        self.counters = counters or MirrorCounters()
        self._queue: deque[Append | Fill] = deque()
        self._queue_bytes = 0
        self._budget = budget
        self._last_timestamp: int | None = None
        self._source_ends = SourceEnds()
        self._sight: Sight | None = None
        self._answers_seen = 0

    @property
    def name(self) -> str:
        return f"{self.topic}[{self.partition}]"

    # --- between fetcher and producer

    def touch(self) -> None:
        """What is to be fetched may have changed."""
        if self.lane is not None:
            self.lane.touch(self)

    @property
    def queued_bytes(self) -> int:
        return self._queue_bytes

    def wants_fetch(self, now_s: float, most_bytes: int) -> bool:
        """Open, not at its end, and with less than `most_bytes` waiting."""
        if not self.is_open or self.bridging or self.ending is not None or now_s < self.retry_fetch_at:
            return False
        return not self.is_full(most_bytes) and (self.limit is None or self.position < self.limit)

    def is_full(self, most_bytes: int) -> bool:
        """Enough waits to be sent: no more is fetched until acks make room."""
        return self._queue_bytes >= most_bytes or len(self._queue) >= _MOST_STEPS

    def bytes_to_fetch(self, each: int, piped: int) -> int:
        """How many are asked for, where it may be so many: of small batches what makes whole merged ones.

        `piped` of those that come in pipes; once there are no more of these, the next come to memory.
        """
        if self.piped:
            each = piped
        if self.small and self.merged_bytes and each > MERGED_BYTES:
            each -= each % MERGED_BYTES
        return max(self.fetch_bytes, each)

    def enqueue(self, *steps: Append | Fill) -> None:
        """Takes steps whose bytes the budget already counts. Neighbouring gaps become one: one request fills them."""
        queue = self._queue
        for step in steps:
            if isinstance(step, Fill) and queue and isinstance(last := queue[-1], Fill):
                queue[-1] = Fill(last.base, last.count + step.count, last.gap)
            else:
                queue.append(step)
            self._queue_bytes += step.size
            self.position = step.end
        self.touch()

    def next_step(self) -> Append | Fill | None:
        return self._queue[0] if self._queue else None

    def take(self) -> Append:
        """The next step, which is an Append, with the small ones behind it; it is on its way from now on."""
        first = self._queue[0]
        assert isinstance(first, Append)
        if self._goes_alone(first):
            self._queue.popleft()
            step, size = first, first.size
        else:
            step, size = take(self._queue, *self._merging(first))
            self._budget.adjust(size, step.size)
        self._queue_bytes -= size
        if self.lane is not None:
            self.lane.made_room(self)
        return step

    @property
    def next_bytes(self) -> int:
        """About how large the next batch is that `take` gives; 0 where the next step is no batch."""
        first = self._queue[0] if self._queue else None
        if not isinstance(first, Append):
            return 0
        if self._goes_alone(first):
            return first.size
        most, small = self._merging(first)
        return max(first.size, min(self._queue_bytes, most) if first.is_small(small) else 0)

    def _goes_alone(self, first: Append) -> bool:
        """Nothing is merged with it, as with most large ones: no more has to be looked at."""
        return not self.far and (first.pipe is not None or not first.is_small(SMALL_BYTES))

    def _merging(self, first: Append) -> tuple[int, int]:
        """To how many bytes batches are merged with `first`, and which are small enough for it."""
        most = min(self.merged_bytes, self._merged_most)
        if not most:
            return 0, SMALL_BYTES
        if self.far:
            return most, most // 2
        if wire.attributes(first.batch) & wire.COMPRESSION:
            most = min(most, PACKED_BYTES)
        return most, SMALL_BYTES

    def merge_less(self, refused: Append) -> None:
        """A merged batch is not taken: smaller ones may be, and else it is one of the source's that is not."""
        self._merged_most = min(self._merged_most, refused.size) // 2

    def may_fill(self, offset: int) -> bool:
        """Nothing is filled from the target of a promote on, nor once the partition is closed."""
        return self.is_open and (self.limit is None or offset < self.limit)

    def filled(self, log_end: int, epoch: int | None) -> None:
        """Markers of producer epoch `epoch` took all offsets below `log_end`; what is left of the gap is the next step.

        None: they were of another producer id than that of our batches.
        """
        self.offsets_taken(log_end, epoch)
        self.marking = False
        self.in_doubt = False
        self.sure_since = self.held_since
        self.backoff.reset()
        gap = self._queue[0] if self._queue else None
        if not isinstance(gap, Fill):  # it was cut off meanwhile
            self.position = max(self.position, log_end)
        elif log_end < gap.end:
            self._queue[0] = Fill(log_end, gap.end - log_end, gap.gap)
        else:
            self._queue.popleft()
        self.touch()

    def offsets_taken(self, log_end: int, epoch: int | None) -> None:
        """As `filled`, of a partition that may be closed by now: nothing waits there."""
        self.counters.fills += log_end - self.appender.log_end
        if epoch is None:
            self.appender.filled_by_another(log_end)
        else:
            self.appender.filled(log_end, epoch, time.monotonic())

    def own_queue(self) -> None:
        """Takes what waits into memory of its own: else a small part keeps a large answer, and others hardly less."""
        for step in self._queue:
            if isinstance(step, Append) and memoryview(step.batch.obj).nbytes > 2 * len(step.batch):
                step.batch = memoryview(bytearray(step.batch))

    def drop_queue(self) -> None:
        """Forgets what is fetched and not sent: it is fetched again from the log end."""
        self._budget.release(self._queue_bytes)
        self._queue.clear()
        self._queue_bytes = 0
        self.position = self.appender.next_offset
        self.position_epoch = -1
        self.touch()

    def cut_at(self, limit: int) -> None:
        """Nothing from offset `limit` on is sent any more (the target of a promote)."""
        self.limit = limit
        self.touch()
        while self._queue and self._queue[-1].base >= limit:
            step = self._queue.pop()
            self._queue_bytes -= step.size
            self._budget.release(step.size)
            self.position = step.base
            self.position_epoch = -1
        last = self._queue[-1] if self._queue else None
        if last is None or last.end <= limit:
            return
        kept = before(last, limit) if isinstance(last, Append) else Fill(last.base, limit - last.base, last.gap)
        if kept is not last:
            self._queue[-1] = kept
            self._queue_bytes -= last.size - kept.size
            self._budget.release(last.size - kept.size)
            self.position = kept.end
            self.position_epoch = -1

    def opened(self, node: int, log_end: int, state: ProducerState | None, source_epoch: int) -> None:
        """`source_epoch`: the leader epoch of the source's batch before `log_end`, -1 where it is not known."""
        if self.generation:
            self.counters.reopenings += 1
        self.appender.open(log_end, state, time.monotonic())
        self.node = node
        self.position = log_end
        self.position_epoch = source_epoch
        self.ending = None
        self.is_open = True
        if not self.write_denied:
            self.destination_trouble = None
        self.touch()

    def closed(self) -> None:
        """Needs opening again; what is in flight is still waited for."""
        self.is_open = False
        self.generation += 1
        self.ending = None
        self.drop_queue()

    def close_when_idle(self) -> None:
        """A partition that was idle for long is opened anew: the broker may have forgotten our producer meanwhile."""
        if self.is_open and self.drained and self.appender.is_stale(time.monotonic()):
            self.closed()

    def copied(self, step: Append) -> None:
        counters = self.counters
        counters.batches += step.source_batches
        counters.appends += 1
        counters.bytes += step.size
        counters.records += step.count
        self._last_timestamp = step.max_timestamp
        self.in_doubt = False
        self.suspect = False
        self.sure_since = self.held_since
        self.backoff.reset()
        if self.write_denied:
            self.write_denied = False
            self.destination_trouble = None

    @property
    def busy(self) -> bool:
        """Something is on its way to the destination."""
        return bool(self.appender.in_flight) or self.marking

    @property
    def drained(self) -> bool:
        return not self.busy and not self._queue

    @property
    def at_limit(self) -> bool:
        """Everything below the limit is confirmed."""
        return self.limit is not None and self.is_open and self.drained and self.appender.log_end >= self.limit

    # --- how it stands

    def source_seen(self, stable_end: int, asked_ms: int | None = None) -> None:
        """An answer shows where the source ends; `asked_ms`: when it was asked, now if not given."""
        self._catch_up()
        self.source_end = stable_end
        self.fetched_ms = now_ms()
        self.source_trouble = None
        asked_ms = self.fetched_ms if asked_ms is None else asked_ms
        self._source_ends.add(asked_ms, self.fetched_ms, stable_end, self.appender.log_end)

    def keep_in_sight(self, sight: Sight) -> None:
        """From now on what `sight` tells is true of this partition."""
        self._sight, self._answers_seen = sight, sight.answers

    def look_away(self) -> None:
        """The source is not asked for this partition for now, or has told of a trouble."""
        self._catch_up()
        self._sight = None

    def _catch_up(self) -> None:
        """Takes over the answers that had nothing new to tell of this partition."""
        seen = self._sight
        if seen is None or self.source_end is None or seen.answers == self._answers_seen:
            return
        self._answers_seen = seen.answers
        self.fetched_ms = seen.answered_ms
        self._source_ends.add(seen.asked_ms, seen.answered_ms, self.source_end, self.appender.log_end)

    def in_trouble(self, error: Exception, *, at_source: bool) -> None:
        """Remembers the cause, and since when there is one."""
        self.counters.retries["source" if at_source else "destination"] += 1
        before = self.source_trouble if at_source else self.destination_trouble
        trouble = Trouble(
            with_remedy(error), before.since_ms if before else now_ms(), getattr(error, "code", "UNKNOWN")
        )
        if at_source:
            self.source_trouble = trouble
        else:
            self.destination_trouble = trouble

    def lag_ms(self) -> int | None:
        """Age of the oldest record not yet copied; 0 when all is that the source showed when it was last asked."""
        if self.source_end is None:
            return None
        self._catch_up()
        log_end = self.appender.log_end
        if log_end >= self.source_end:
            return 0
        flying = self.appender.in_flight
        oldest = flying[0] if flying else self.next_step()
        timestamp = oldest.base_timestamp if isinstance(oldest, Append) else self._last_timestamp
        return age_ms(now_ms(), timestamp, self._source_ends.came_between(log_end))

    @property
    def rests_at(self) -> int | None:
        """Its log end, where all is copied that the source has shown and nothing else is to be told; None elsewhere."""
        at_rest = self.is_open and self.source_trouble is None and self.destination_trouble is None
        end = self.appender.log_end
        return end if at_rest and end == self.source_end else None

    def status(self, error: MirrorError | None) -> PartitionStatus:
        trouble = self.destination_trouble or self.source_trouble
        shown = trouble if trouble and now_ms() - trouble.since_ms >= _SHOWN_AFTER_MS else None
        own_error = error if error and error.partition in {None, self.partition} else None
        state = PartitionState.COPYING if self.is_open else PartitionState.OPENING
        if own_error:
            state = PartitionState.FAILED
        elif shown and shown is self.destination_trouble:
            state = PartitionState.DESTINATION_UNAVAILABLE
        elif shown:
            state = PartitionState.SOURCE_UNAVAILABLE
        known = self.is_open or self.generation > 0
        lag_ms = self.lag_ms()
        return PartitionStatus(
            partition=self.partition,
            state=state,
            log_end=self.appender.log_end if known else None,
            source_end=self.source_end,
            lag_ms=lag_ms,
            fetched_ms=self.fetched_ms,
            trouble=shown,
            error=own_error,
        )


def refused_gap(copy: PartitionCopy, *, grant: str = "ALTER on the cluster") -> MirrorError:
    """The destination does not let kmirror fill the gap that is next; with `grant` it would."""
    step, offset = copy.next_step(), copy.appender.log_end
    what = step.gap if isinstance(step, Fill) else Gap.HOLE
    message = (
        f"offset {offset} of the source holds {what}, and the destination does not let kmirror write a marker there"
    )
    return MirrorError(Failure.GAP_NOT_FILLABLE, f"{message}: grant it {grant}", offset=offset)
