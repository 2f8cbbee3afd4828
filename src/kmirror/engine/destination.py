"""A produce pipeline to a destination broker: one batch a partition in a request, several requests in flight."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from kmirror.engine.appender import Verdict
from kmirror.engine.budget import Budget
from kmirror.engine.copy import PartitionCopy
from kmirror.engine.steps import Append
from kmirror.engine.window import FAR_S, MOST_REQUESTS, REQUEST_BYTES, far_request_bytes, has_enough
from kmirror.errors import ClusterError
from kmirror.log import events
from kmirror.model.failures import Failure
from kmirror.model.mirror import MirrorError
from kmirror.wire import batch as wire
from kmirror.wire import produce as wire_produce
from kmirror.wire.cluster import Cluster
from kmirror.wire.connection import Connection
from kmirror.wire.errors import (
    CORRUPT_MESSAGE,
    REOPEN_AFTER_PRODUCE,
    BrokerError,
    ConnectionLost,
    error_name,
    is_authorization,
    is_retriable,
)
from kmirror.wire.produce import Produced, ProducePartition

log = events(__name__)

_ACK_TIMEOUT_MS: Final = 30_000
_MOST_PAUSE_S: Final = 0.002
_PAUSE_PART: Final = 0.4
"""Of how long an answer takes with all requests in flight: meanwhile such a part of them is answered."""
_NO_PAUSE_S: Final = 0.001
"""To a broker with a longer round trip nothing waits."""

_Copies = dict[tuple[str | bytes, int], PartitionCopy]
"""The partitions of a request, as its answer names them: by topic name or topic id."""
_Answer = list[Produced] | ClusterError


class DestinationProducer:
    """Sends to destination broker `node` what the open partitions of one `pipeline` to it have in hand.

    `on_drained` is told of a partition whose last batch in flight was settled, `on_end` of one that can't go on.
    """

    def __init__(
        self,
        node: int,
        pipeline: int,
        cluster: Cluster,
        budget: Budget,
        *,
        producer_id: Callable[[], int],
        request_timeout_s: float,
        on_drained: Callable[[PartitionCopy], None],
        on_broken: Callable[[PartitionCopy, ClusterError], None],
        on_end: Callable[[PartitionCopy, MirrorError], None],
    ) -> None:
        self._node = node
        self._pipeline = pipeline
        self._cluster = cluster
        self._budget = budget
        self._producer_id = producer_id
        self._timeout_s = request_timeout_s + _ACK_TIMEOUT_MS / 1000
        self._on_drained = on_drained
        self._on_broken = on_broken
        self._on_end = on_end
        self._ready: OrderedDict[PartitionCopy, None] = OrderedDict()
        self._work = asyncio.Event()
        self._requests = 0
        self._under_way_bytes = 0
        self._answering = False
        self._most_bytes = REQUEST_BYTES
        self._answered_in_s = 0.0

    @property
    def is_idle(self) -> bool:
        """It waits for no answer."""
        return not self._requests

    @property
    def pause_s(self) -> float:
        """For how long nothing that we do would have the broker do more: it has all requests that it may have, and more
        wait. 0 where it has not.

        It falls with the time that answers take, so the broker never waits for us for long.
        """
        if not self._ready or self._cluster.round_trip_s >= _NO_PAUSE_S or not self._has_enough:
            return 0.0
        return min(_MOST_PAUSE_S, _PAUSE_PART * self._answered_in_s)

    def ready(self, copy: PartitionCopy) -> None:
        """`copy` has something to send."""
        self._ready.setdefault(copy)
        self._wake()

    @property
    def _has_enough(self) -> bool:
        return has_enough(self._requests, self._under_way_bytes, far=self._is_far, answered_in_s=self._answered_in_s)

    @property
    def _is_far(self) -> bool:
        return self._cluster.round_trip_s >= FAR_S

    @property
    def _may_send(self) -> bool:
        return bool(self._ready) and not self._has_enough

    def _is_ours(self, copy: PartitionCopy) -> bool:
        """It is not opened elsewhere by now."""
        return copy.node == self._node and copy.pipeline == self._pipeline

    def _wake(self) -> None:
        if not self._answering:
            self._work.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            if not self._may_send:
                self._work.clear()
                await self._work.wait()  # every change sets it, but for those by which `answered` sends itself
                continue
            try:
                connection = await self._cluster.connection(self._node, "produce", self._pipeline)
                version = produce_version(connection)
            except ClusterError as e:
                self._give_up(e)
                continue
            await connection.unthrottled()
            if self._send(connection, version):
                await connection.drain()

    def _give_up(self, error: ClusterError) -> None:
        """Nobody answers there: every partition looks for its leader anew."""
        while self._ready:
            copy, _ = self._ready.popitem(last=False)
            if copy.is_open and self._is_ours(copy):
                self._on_broken(copy, error)

    def _send(self, connection: Connection, version: int) -> bool:
        batch = self._pick()
        if not batch:
            return False
        request = []
        sent: _Copies = {}
        takes_pipes, by_id = connection.takes_pipes, version >= wire_produce.BY_ID
        producer_id = self._producer_id()
        size = 0
        for copy in batch:
            step = copy.take()
            pipe = step.give_pipe() if takes_pipes else None
            if pipe is None:
                step.whole()
            sequence = copy.appender.send(step)
            wire.stamp(step.batch, producer_id, copy.appender.epoch, sequence, step.piped_bytes)
            size += step.size
            request.append(ProducePartition(copy.topic, copy.topic_id, copy.partition, step.batch, pipe))
            sent[copy.topic_id if by_id else copy.topic, copy.partition] = copy
            if copy.next_step():
                self.ready(copy)
        body = wire_produce.encode_produce(version, request, timeout_ms=_ACK_TIMEOUT_MS)
        self._requests += 1
        self._under_way_bytes += size
        asker = _Request(self, connection, version, sent, size)
        try:
            connection.send_for(asker, wire_produce.API_KEY, version, body, flexible=True, timeout=self._timeout_s)
        except ConnectionLost as e:
            self._settle(asker, e)
        return True

    def _pick(self) -> list[PartitionCopy]:
        """The partitions of the next request: in turn, until their first batches make up a request."""
        picked: list[PartitionCopy] = []
        size = 0
        now = time.monotonic()
        far = self._is_far
        most = self._most_bytes if far else REQUEST_BYTES
        for _ in range(len(self._ready)):
            copy, _ = self._ready.popitem(last=False)
            copy.far = far
            if copy.marking or not copy.is_open or not self._is_ours(copy) or copy.next_pipeline != self._pipeline:
                continue
            if not copy.appender.may_send(now, MOST_REQUESTS):
                continue  # its next ack makes it ready again
            if not (next_bytes := copy.next_bytes):
                continue
            size += next_bytes
            if picked and size > most:
                self._ready[copy] = None
                self._ready.move_to_end(copy, last=False)
                break
            picked.append(copy)
        return picked

    def answered(self, request: "_Request", frame: memoryview) -> None:
        """Settles a request, and sends what may be sent by that: at once, without a turn of the event loop."""
        self._answered_in_s = time.monotonic() - request.began_s
        self._most_bytes = far_request_bytes(self._most_bytes, self._answered_in_s)
        self._answering = True
        try:
            self._settle(request, self._read(request, frame))
            while self._may_send and request.connection.takes_more:
                self._send(request.connection, request.version)
        finally:
            self._answering = False
            if self._may_send:
                self._work.set()

    def _read(self, request: "_Request", frame: memoryview) -> _Answer:
        try:
            throttle_ms, partitions = wire_produce.decode_produce(frame, request.version)
        except ClusterError as e:
            return e
        request.connection.throttled(throttle_ms)
        self._cluster.counters.throttled_s += throttle_ms / 1000
        return partitions

    def failed(self, request: "_Request", error: Exception) -> None:
        if not isinstance(error, ClusterError):
            raise error
        self._settle(request, error)

    def _settle(self, request: "_Request", answer: _Answer) -> None:
        self._requests -= 1
        self._under_way_bytes -= request.size
        self._budget.release(request.size)
        self._wake()
        now_s = time.monotonic()
        unanswered = request.sent
        if not isinstance(answer, ClusterError):
            for topic, partition, code, base_offset, message in answer:
                copy = unanswered.pop((topic, partition), None)
                if copy is None:
                    continue  # it was not asked
                refusal = BrokerError(code, f"Produce {copy.name}") if code else None
                if refusal and message:
                    refusal.message = f"{refusal.message}: {message}"
                self._settle_one(copy, code, base_offset, refusal, now_s)
        fault = answer if isinstance(answer, ClusterError) else None
        for copy in unanswered.values():
            copy.in_doubt = True
            missing = fault or ClusterError(f"the broker's answer leaves out {copy.name}")
            self._settle_one(copy, -1, -1, missing, now_s)

    def _settle_one(
        self, copy: PartitionCopy, code: int, base_offset: int, error: ClusterError | None, now_s: float
    ) -> None:
        was_broken = copy.appender.broken
        step, verdict = copy.appender.settle(code, base_offset, now_s)
        if verdict is Verdict.COPIED:
            copy.copied(step)
            if copy.next_step():
                self.ready(copy)
        elif verdict is Verdict.MISPLACED:
            place = f"the batch for offset {step.base} landed at {base_offset}"
            message = f"{place}: somebody else writes to the mirror topic"
            self._on_end(copy, MirrorError(Failure.FOREIGN_WRITER, message, copy.partition, step.base))
        elif not was_broken and error is not None:
            self._refused(copy, step, code, error)
        if not copy.appender.in_flight:
            self._on_drained(copy)

    def _refused(self, copy: PartitionCopy, step: Append, code: int, error: ClusterError) -> None:
        copy.suspect = copy.suspect or code == CORRUPT_MESSAGE
        copy.counters.refusals[error_name(code) if code > 0 else type(error).__name__] += 1
        log.warning("batch refused", topic=copy.topic, partition=copy.partition, offset=step.base, error=error.message)
        passing = code == -1 or is_retriable(code) or is_authorization(code) or code in REOPEN_AFTER_PRODUCE
        if passing:
            self._on_broken(copy, error)
        elif step.source_batches > 1:  # too large for the topic, perhaps: sent again in parts
            copy.merge_less(step)
            self._on_broken(copy, error)
        else:
            at = step.base
            message = f"the destination refuses the batch of offsets {at} to {step.end - 1}: {error.message}"
            self._on_end(copy, MirrorError(Failure.DESTINATION_REFUSED, message, copy.partition, at))


class _Request:
    """One that is on its way, with batches of so many bytes, and who takes its answer (`wire.connection.Asker`)."""

    def __init__(
        self, producer: DestinationProducer, connection: Connection, version: int, sent: _Copies, size: int
    ) -> None:
        self.connection = connection
        self.version = version
        self.sent = sent
        self.size = size
        self.began_s = time.monotonic()
        self._producer = producer

    def done(self) -> bool:
        return False

    def set_result(self, frame: memoryview) -> None:
        self._producer.answered(self, frame)

    def set_exception(self, error: Exception) -> None:
        """Later, as a future would: whoever ends a connection is in the midst of something."""
        asyncio.get_running_loop().call_soon(self._producer.failed, self, error)


def produce_version(connection: Connection) -> int:
    """By topic id where the broker can: no batch lands in a topic that was made anew. Raises UnsupportedVersion."""
    version = connection.version_of(wire_produce.API_KEY, wire_produce.BY_NAME, wire_produce.BY_ID)
    return wire_produce.BY_ID if version >= wire_produce.BY_ID else wire_produce.BY_NAME
