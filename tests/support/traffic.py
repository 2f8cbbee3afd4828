"""Topics and records for the tests: every shape that a mirror must carry, and traffic that goes on."""

import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain, islice
from typing import Self

from confluent_kafka import KafkaError, KafkaException, Message, Producer
from confluent_kafka.admin import AdminClient, NewTopic

CODECS = ("none", "gzip", "snappy", "lz4", "zstd")

ANY_TIMESTAMP = {"message.timestamp.after.max.ms": str(2**63 - 1), "retention.ms": "-1"}
"""Topic configuration for records of tomorrow, which brokers refuse by default, and for those of 1970, which
the default retention deletes within seconds."""

LARGE = 900 * 1024
"""Bytes of a large record: below the default limit of 1 MiB a batch."""

_FEW, _SMALL = 200, 100_000
"""Records and bytes that surely fit one batch."""

DAY_MS = 86_400_000

Headers = tuple[tuple[str, bytes | None], ...]


@dataclass(frozen=True, slots=True)
class Record:
    key: bytes | None = None
    value: bytes | None = b""
    headers: Headers | None = None
    timestamp_ms: int | None = None
    """None: now. Zero can't be produced: librdkafka takes it for "now"."""
    partition: int | None = None

    def __post_init__(self) -> None:
        if self.timestamp_ms is not None and self.timestamp_ms < 1:
            raise ValueError("librdkafka produces no timestamp below 1 ms")


def create_topic(
    bootstrap: str,
    name: str,
    partitions: int = 1,
    replication: int = 1,
    config: Mapping[str, str] | None = None,
) -> None:
    """Create a topic, and return when its partitions have leaders."""
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 2})
    topic = NewTopic(name, partitions, replication, config=dict(config or {}))
    admin.create_topics([topic], operation_timeout=20)[name].result()
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        known = admin.list_topics(timeout=10).topics.get(name)
        if known and len(known.partitions) == partitions and all(p.leader >= 0 for p in known.partitions.values()):
            return
        time.sleep(0.02)
    raise TimeoutError(f'topic "{name}" has no leaders')


def produce(
    bootstrap: str,
    topic: str,
    records: Iterable[Record],
    *,
    partition: int | None = None,
    compression: str = "none",
    idempotent: bool | None = None,
    batch_records: int = 10_000,
    batch_bytes: int = 1_000_000,
    linger_ms: float = 5,
    config: Mapping[str, str | int] | None = None,
    timeout: float = 60,
) -> int:
    """Produce all records in their order; returns how many, raises if one was not acknowledged.

    A record's own partition goes before `partition`; without any the key decides. An idempotent producer needs half a
    second for its producer id; without one a retried batch may land behind the next one, so that only records
    that fit one batch are safe (a broker that has just started does answer "not leader" once). So unless `idempotent`
    says it, the producer is idempotent where there are more.
    """
    rest = iter(records)
    first = list(islice(rest, min(_FEW, batch_records) + 1))
    if idempotent is None:
        fit = sum(len(r.key or b"") + len(r.value or b"") for r in first) < min(_SMALL, batch_bytes)
        idempotent = not fit or len(first) > min(_FEW, batch_records)
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "enable.idempotence": idempotent,
            "max.in.flight.requests.per.connection": 5 if idempotent else 1,
            "compression.type": compression,
            "batch.num.messages": batch_records,
            "batch.size": batch_bytes,
            "linger.ms": linger_ms if idempotent else max(linger_ms, 50),  # all in one batch; a flush does not wait
            "queue.buffering.max.messages": 1_000_000,
            "log_level": 2,
            **(config or {}),
        }
    )
    failures: list[KafkaError] = []
    count = 0

    def delivered(error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            failures.append(error)

    for record in chain(first, rest):
        if record.partition is None and partition is not None:
            send(producer, topic, replace(record, partition=partition), delivered)
        else:
            send(producer, topic, record, delivered)
        count += 1
    unsent = producer.flush(timeout)
    if failures:
        raise KafkaException(failures[0])
    if unsent:
        raise TimeoutError(f'{unsent} of {count} records to "{topic}" not acknowledged within {timeout} s')
    return count


def turn_ms(turn: int) -> int:
    """Timestamps of another second in each turn, all a little while ago.

    With a short segment.ms the records of a turn begin a segment of their own: the broker rolls by their timestamps.
    """
    return int(time.time()) * 1000 - 60_000 + turn * 1000


def send(
    producer: Producer, topic: str, record: Record, delivered: Callable[[KafkaError | None, Message], None]
) -> None:
    """Queue one record; waits while the producer's queue is full."""
    arguments: dict[str, object] = {"on_delivery": delivered}
    if record.headers is not None:
        arguments["headers"] = list(record.headers)
    if record.timestamp_ms is not None:
        arguments["timestamp"] = record.timestamp_ms
    if record.partition is not None:
        arguments["partition"] = record.partition
    while True:
        try:
            producer.produce(topic, value=record.value, key=record.key, **arguments)
        except BufferError:
            producer.poll(0.1)
        else:
            producer.poll(0)
            return


def shapes(seed: int = 1) -> list[Record]:
    """One of each shape, small to large, in a random order that the seed fixes. Needs ANY_TIMESTAMP."""
    noise = random.Random(seed)
    records = [
        Record(b"key", b"value"),
        Record(b"key", b""),
        Record(b"", b"empty key"),
        Record(None, b"null key"),
        Record(b"null value", None),
        Record(None, None),
        Record(b"", b""),
        Record(b"headers", b"one", (("a", b"1"),)),
        Record(b"headers", b"null", (("a", None),)),
        Record(b"headers", b"empty", (("a", b""),)),
        Record(b"headers", b"repeated", (("a", b"1"), ("b", b"2"), ("a", b"1"), ("a", None), ("a", b""))),
        Record(b"headers", b"of null value and key", (("", b"empty name"), ("\u00fc\u4e2d", b"\x00\xff"))),
        Record(None, None, (("only", b"headers"),)),
        Record(b"headers", b"many", tuple((f"h{i}", str(i).encode()) for i in range(200))),
        Record(b"time", b"1970", timestamp_ms=1),
        Record(b"time", b"tomorrow", timestamp_ms=int(time.time() * 1000) + DAY_MS),
        Record(b"time", b"2001", timestamp_ms=1_000_000_000_000),
        Record(noise.randbytes(40_000), b"large key"),
        Record(b"large, incompressible", noise.randbytes(LARGE)),
        Record(b"large, compressible", b"0123456789abcdef" * (LARGE // 16)),
        Record(bytes(range(256)), bytes(range(256))),
    ]
    noise.shuffle(records)
    return records


def sized(count: int, *, low: int = 0, high: int = 2_000, seed: int = 1, partitions: int = 1) -> Iterator[Record]:
    """Records of random sizes, spread over the partitions; the value starts with its number."""
    noise = random.Random(seed)
    filler = noise.randbytes(high + 1)
    for number in range(count):
        size = noise.randint(low, high)
        headers = (("number", str(number).encode()),) if number % 7 == 0 else None
        key = None if number % 5 == 0 else f"key-{number % 100}".encode()
        value = (b"%d:" % number + filler)[: max(size, len(b"%d:" % number))]
        yield Record(key, value, headers, partition=number % partitions)


class Traffic:
    """A producer in the background: `with Traffic(...) as traffic:` keeps producing until the end of the block.

    Values are numbered, so that a reader of a failure sees which records went where.
    """

    def __init__(
        self,
        bootstrap: str,
        topic: str,
        *,
        rate: float = 1_000,
        size: int = 100,
        config: Mapping[str, str | int] | None = None,
    ) -> None:
        self.topic = topic
        self.rate = rate
        self.size = size
        self.sent = 0
        self.acked = 0
        self.failed: list[KafkaError] = []
        self._producer = Producer(
            {
                "bootstrap.servers": bootstrap,
                "enable.idempotence": True,
                "linger.ms": 25,  # requests cost brokers and runner more than what is in them
                "log_level": 0,
                **(config or {}),
            }
        )
        self._stopping = threading.Event()
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, name=f"traffic to {topic}", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self, flush_timeout: float = 30) -> int:
        """End the traffic, wait for what is under way (a dead cluster's is given up), return how many were acked."""
        self._stopping.set()
        self._thread.join()
        if self._producer.flush(flush_timeout):
            self._producer.purge()
            self._producer.flush(5)
        if self._error is not None:
            raise self._error
        return self.acked

    def _run(self) -> None:
        started = time.monotonic()
        try:
            while not self._stopping.is_set():
                due = int((time.monotonic() - started) * self.rate) - self.sent
                for _ in range(due):
                    if self._stopping.is_set() or not self._send():
                        break
                self._producer.poll(0)
                self._stopping.wait(0.02)
        except Exception as error:  # told by stop(), in the thread of the test
            self._error = error

    def _send(self) -> bool:
        """False when the queue is full: a cluster that is away must not keep stop() from being heard."""
        value = f"{self.sent}:".encode().ljust(self.size, b".")
        try:
            self._producer.produce(
                self.topic, value=value, key=f"key-{self.sent % 100}".encode(), on_delivery=self._delivered
            )
        except BufferError:
            self._producer.poll(0.05)
            return False
        self.sent += 1
        return True

    def _delivered(self, error: KafkaError | None, _message: Message) -> None:
        if error is None:
            self.acked += 1
        else:
            self.failed.append(error)
