"""Reading the logs of a topic through confluent-kafka: bounds, all records as digests, single records.

No committed group, no topic created by asking for it, no offset reset: a reader that can't read what it was told
to read raises.
"""

import time
import uuid
from array import array
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeVar

from confluent_kafka import (
    TIMESTAMP_LOG_APPEND_TIME,
    TIMESTAMP_NOT_AVAILABLE,
    Consumer,
    IsolationLevel,
    KafkaError,
    KafkaException,
    Message,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, OffsetSpec

T = TypeVar("T")

PASSING = frozenset(
    {
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.REQUEST_TIMED_OUT,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError._TRANSPORT,
        KafkaError._ALL_BROKERS_DOWN,
        KafkaError._TIMED_OUT,
        KafkaError._TIMED_OUT_QUEUE,
        KafkaError._RESOLVE,
    }
)
"""What a broker that restarts answers, or one that has just been told of a topic."""


CONNECTED = {"enable.sparse.connections": False}
"""For an AdminClient: it takes a whole core while it waits for a broker that has died, unless it is connected to all
from the beginning."""


class Isolation(StrEnum):
    UNCOMMITTED = "read_uncommitted"
    COMMITTED = "read_committed"


@dataclass(frozen=True, slots=True)
class Bounds:
    """Where a partition's log starts and where it ends: at the high watermark, and at the last stable offset."""

    start: int
    end: Mapping[Isolation, int]


@dataclass(slots=True)
class Log:
    """A partition's records in offset order, each as two integers."""

    offsets: array = field(default_factory=lambda: array("q"))
    digests: array = field(default_factory=lambda: array("q"))


@dataclass(frozen=True, slots=True)
class Seen:
    """One record, all of it that a consumer can see."""

    offset: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]
    timestamp: int
    timestamp_type: str


def stamped(message: Message) -> tuple[int, int]:
    """Type and timestamp. A record of format v0 has none: that is -1, as in newer formats; librdkafka gives a 0."""
    kind, timestamp = message.timestamp()
    return kind, -1 if kind == TIMESTAMP_NOT_AVAILABLE else timestamp


def seen(message: Message) -> Seen:
    kind, timestamp = stamped(message)
    name = "LogAppendTime" if kind == TIMESTAMP_LOG_APPEND_TIME else "CreateTime"
    headers = tuple(message.headers() or ())
    return Seen(message.offset(), message.key(), message.value(), headers, timestamp, name)


def digest(message: Message, *, typed: bool) -> int:
    """64 bits of everything but the offset.

    Python's own hash: SipHash of each string under a key of this process, and None differs from empty. Two
    records that differ have the same one once in 2**64, and it costs a tenth of a digest of hashlib's.
    """
    kind, timestamp = stamped(message)
    headers = tuple(message.headers() or ())
    return hash((message.key(), message.value(), headers, timestamp, kind if typed else None))


class Topic:
    """One topic of one cluster, to be read until the deadline (of time.monotonic)."""

    def __init__(self, bootstrap: str, name: str, deadline: float) -> None:
        self.bootstrap = bootstrap
        self.name = name
        self.deadline = deadline
        self._patience_s = 1.0
        self._admin = self._client()

    def stable_ends(self) -> dict[int, int]:
        """Last stable offsets by partition; empty if there is no such topic."""
        partitions = self._retry(self._partitions)
        return self._offsets(partitions, OffsetSpec.latest(), IsolationLevel.READ_COMMITTED) if partitions else {}

    def bounds(self) -> dict[int, Bounds]:
        """By partition; empty if there is no such topic."""
        partitions = self._retry(self._partitions)
        if not partitions:
            return {}
        start = self._offsets(partitions, OffsetSpec.earliest(), IsolationLevel.READ_UNCOMMITTED)
        # The stable end first: it never lies beyond a high watermark that was read later.
        stable = self._offsets(partitions, OffsetSpec.latest(), IsolationLevel.READ_COMMITTED)
        high = self._offsets(partitions, OffsetSpec.latest(), IsolationLevel.READ_UNCOMMITTED)
        ends = {p: {Isolation.UNCOMMITTED: high[p], Isolation.COMMITTED: stable[p]} for p in partitions}
        return {p: Bounds(start[p], ends[p]) for p in partitions}

    def read(self, spans: Mapping[int, range], isolation: Isolation, *, typed: bool = True) -> dict[int, Log]:
        """Every record of these offsets."""
        found = {partition: Log() for partition in spans}
        with self._consumer(isolation) as consumer:
            for message in self._messages(consumer, {p: span for p, span in spans.items() if span}):
                log = found[message.partition()]
                log.offsets.append(message.offset())
                log.digests.append(digest(message, typed=typed))
        return found

    def records(self, isolation: Isolation, partition: int = 0) -> list[Seen]:
        """All that a consumer sees of a partition; for small ones."""
        bounds = self.bounds()[partition]
        span = {partition: range(bounds.start, bounds.end[isolation])}
        if not span[partition]:
            return []
        with self._consumer(isolation) as consumer:
            return [seen(message) for message in self._messages(consumer, span)]

    @contextmanager
    def picker(self, isolation: Isolation) -> Iterator["Picker"]:
        with self._consumer(isolation) as consumer:
            yield Picker(self, consumer)

    def _partitions(self) -> list[int]:
        (described,) = self._admin.describe_topics(TopicCollection([self.name]), request_timeout=self._left()).values()
        try:
            return [partition.id for partition in described.result().partitions]
        except KafkaException as error:
            if error.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
                return []
            raise

    def _offsets(self, partitions: list[int], spec: OffsetSpec, isolation: IsolationLevel) -> dict[int, int]:
        def ask() -> dict[int, int]:
            asked = {TopicPartition(self.name, partition): spec for partition in partitions}
            answers = self._admin.list_offsets(asked, isolation_level=isolation, request_timeout=self._left())
            return {at.partition: answer.result().offset for at, answer in answers.items()}

        return self._retry(ask)

    def _retry(self, ask: Callable[[], T]) -> T:
        while True:
            try:
                return ask()
            except KafkaException as error:
                if error.args[0].code() not in PASSING or time.monotonic() > self.deadline:
                    raise
            time.sleep(0.1)
            self._patience_s *= 1.5
            self._admin = self._client()  # one that has seen the controller die may wait for it until the end

    def _client(self) -> AdminClient:
        # Back soon when a broker is, even if the same object asks before and after.
        backoff = {"reconnect.backoff.max.ms": 500}
        return AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 2, **CONNECTED, **backoff})

    def _left(self) -> float:
        """Short at first: a client that waits for a broker that has died does not see who leads instead."""
        return max(1.0, min(self._patience_s, 10.0, self.deadline - time.monotonic()))

    @contextmanager
    def _consumer(self, isolation: Isolation) -> Iterator[Consumer]:
        consumer = Consumer(
            {
                "bootstrap.servers": self.bootstrap,
                "group.id": f"oracle-{uuid.uuid4()}",
                "isolation.level": isolation.value,
                "enable.partition.eof": True,
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "allow.auto.create.topics": False,
                "auto.offset.reset": "error",
                "check.crcs": True,
                "fetch.wait.max.ms": 20,
                "queued.max.messages.kbytes": 16_384,
                "fetch.queue.backoff.ms": 5,  # a second by default, whenever the queue is full
                "log_level": 2,
            }
        )
        try:
            yield consumer
        finally:
            consumer.close()

    def _messages(self, consumer: Consumer, spans: Mapping[int, range], batch: int = 1_000) -> Iterator[Message]:
        """All records of the spans; ends when each partition was read to its end, raises at the deadline."""
        consumer.assign([TopicPartition(self.name, partition, span.start) for partition, span in spans.items()])
        unread = {partition: span.stop for partition, span in spans.items()}
        while unread:
            if time.monotonic() > self.deadline:
                raise TimeoutError(f'"{self.name}" at {self.bootstrap}: not read to these ends: {unread}')
            for message in consumer.consume(batch, timeout=0.05):
                error = message.error()
                if error is not None and error.code() in PASSING:
                    continue
                if error is not None and error.code() != KafkaError._PARTITION_EOF:
                    raise KafkaException(error)
                stop = unread.get(message.partition(), 0)
                if error is None and message.offset() < stop:
                    yield message
                # An end-of-partition event carries the next offset, a record its own.
                reached = message.offset() + (1 if error is None else 0)
                if reached >= stop:
                    unread.pop(message.partition(), None)


@dataclass(frozen=True, slots=True)
class Picker:
    """Reads single records, for the report."""

    topic: Topic
    consumer: Consumer

    def pick(self, partition: int, offset: int) -> Seen | None:
        span = {partition: range(offset, offset + 1)}
        return next(map(seen, self.topic._messages(self.consumer, span, batch=1)), None)
