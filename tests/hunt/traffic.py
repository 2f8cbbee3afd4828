"""Writes a schedule's traffic to the source, past the proxies, and keeps a journal of what was acknowledged where."""

import logging
import random
import threading
import time
import zlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from hunt.schedule import Burst, Schedule, Shape, TopicPlan
from kmirror.sandbox import KafkaCluster
from support.mirrors import add_partitions
from support.traffic import ANY_TIMESTAMP, DAY_MS, Record, create_topic, send
from support.wait import eventually

_CONFIGS: dict[Shape, dict[str, str]] = {
    Shape.COMPACTED: {
        "cleanup.policy": "compact",
        "segment.ms": "150",
        "min.cleanable.dirty.ratio": "0.01",
        "delete.retention.ms": "500",
        # Until the mirror is made: see Run's RESTING.
        "min.compaction.lag.ms": str(DAY_MS),
    },
    Shape.APPEND_TIME: {"message.timestamp.type": "LogAppendTime"},
    Shape.DELETED: {"segment.bytes": "1048576"},
}
_QUIET = logging.getLogger("hunt.traffic")
_QUIET.addHandler(logging.NullHandler())
_QUIET.propagate = False
_PATIENT: dict[str, Any] = {
    "logger": _QUIET,  # fenced producers are fatal to themselves, and nobody else
    "message.timeout.ms": 120_000,
    "topic.metadata.refresh.interval.ms": 400,
    "retry.backoff.max.ms": 300,
    "reconnect.backoff.max.ms": 500,
    "log_level": 0,
}


def make_topic(cluster: KafkaCluster, name: str, plan: TopicPlan, brokers: int) -> None:
    config = {**ANY_TIMESTAMP, **_CONFIGS.get(plan.shape, {})}
    create_topic(cluster.bootstrap_servers, name, plan.partitions, min(3, brokers), config)


def records_of(burst: Burst, shape: Shape) -> Iterator[Record]:
    """Each record's value is unique in its topic, but for tombstones."""
    noise = random.Random(burst.salt)
    for number in range(burst.count):
        key = b"key-%d" % noise.randrange(12) if shape is Shape.COMPACTED or noise.random() < 0.7 else None
        value: bytes | None = (b"%d:%d:" % (burst.salt, number)).ljust(noise.randint(0, burst.size), b"v")
        if shape is Shape.COMPACTED and noise.random() < 0.1:
            value = None
        headers = (("n", b"%d" % number), ("none", None)) if noise.random() < 0.1 else None
        timestamp = noise.randint(1, int(2e12)) if shape is not Shape.COMPACTED and noise.random() < 0.05 else None
        yield Record(key, value, headers, timestamp, burst.partition)


def fingerprint(key: bytes | None, value: bytes | None) -> int:
    return zlib.crc32(repr((key, value)).encode())


class Journal:
    """What was sent to one topic: all of it, and by partition and offset what was acknowledged."""

    def __init__(self) -> None:
        self.sent: set[int] = set()
        self.acked: dict[int, dict[int, int]] = defaultdict(dict)

    def delivered(self, error: KafkaError | None, message: Message) -> None:
        if error is None:
            self.acked[message.partition()][message.offset()] = fingerprint(message.key(), message.value())


class SourceTraffic:
    """One thread for each topic, and one for each of its transactional producers."""

    def __init__(self, cluster: KafkaCluster, schedule: Schedule, names: Sequence[str]) -> None:
        self.journals = [Journal() for _ in names]
        self.notes: list[str] = []
        """What could not be written as planned, because a broker was away."""
        self._cluster = cluster
        self._schedule = schedule
        self._names = names
        self._admin = AdminClient({"bootstrap.servers": cluster.bootstrap_servers, "log_level": 0})
        self._producers: dict[tuple[str, int], Producer] = {}
        self._lock = threading.Lock()
        self._transactional: dict[tuple[int, int], Producer | None] = {}
        self._deleted: dict[tuple[str, int], int] = {}
        """Log starts that DeleteRecords has answered for."""
        self._stop = threading.Event()
        self._started = 0.0
        lanes: dict[tuple[int, int], list[Burst]] = defaultdict(list)
        for burst in schedule.bursts:
            lanes[burst.topic, burst.writer].append(burst)
        self._threads = [
            threading.Thread(target=self._lane, args=(bursts,), name=f"traffic {lane}", daemon=True)
            for lane, bursts in lanes.items()
        ]

    def start(self) -> None:
        self._started = time.monotonic()
        for thread in self._threads:
            thread.start()

    def settle(self) -> None:
        """All is acknowledged, and no transaction is open: to be called when the source is healthy."""
        self._stop.set()
        for thread in self._threads:
            thread.join(60)
            if thread.is_alive():
                raise TimeoutError(f"{thread.name} does not end")
        with ThreadPoolExecutor(12) as pool:
            ended = [pool.submit(self._end, *place, producer) for place, producer in self._transactional.items()]
        for one in ended:
            one.result()
        for producer in self._producers.values():
            if producer.flush(60):
                raise TimeoutError("the source does not acknowledge")
        self._producers.clear()
        self._transactional.clear()
        self._delete_again()

    def _delete_again(self) -> None:
        """A broker writes its log starts to a file now and then: one that was killed forgets the last ones, and records
        come back that no reader was to see any more.
        """
        for (name, partition), before in self._deleted.items():
            eventually(lambda n=name, p=partition, b=before: self._delete_before(n, p, b), 30, f"{name} is cut again")

    def _delete_before(self, name: str, partition: int, before: int) -> bool:
        wanted = [TopicPartition(name, partition, before)]
        for deleted in self._admin.delete_records(wanted, request_timeout=5).values():
            deleted.result()
        return True

    def _lane(self, bursts: list[Burst]) -> None:
        for burst in bursts:
            if self._stop.wait(max(0.0, self._started + burst.at_s - time.monotonic())):
                return
            try:
                self._do(burst)
            except (KafkaException, AssertionError, BufferError) as error:
                self.notes.append(f"{burst.action} to {self._names[burst.topic]}: {error}")
                if burst.writer >= 0:
                    self._recover(burst.topic, burst.writer)

    def _do(self, burst: Burst) -> None:
        name = self._names[burst.topic]
        if burst.action == "delete":
            self._delete(name, burst)
        elif burst.action == "grow":
            self._grow(name, burst.count)
        elif burst.writer >= 0:
            self._in_transaction(name, burst)
        else:
            self._write(self._producer(burst.codec, burst.batch_records), name, burst)

    def _write(self, producer: Producer, name: str, burst: Burst) -> None:
        journal = self.journals[burst.topic]
        shape = self._schedule.topics[burst.topic].shape
        for record in records_of(burst, shape):
            journal.sent.add(fingerprint(record.key, record.value))
            send(producer, name, record, journal.delivered)
        producer.poll(0)

    def _producer(self, codec: str, batch_records: int) -> Producer:
        with self._lock:
            if (codec, batch_records) not in self._producers:
                self._producers[codec, batch_records] = Producer(
                    {
                        "bootstrap.servers": self._cluster.bootstrap_servers,
                        "enable.idempotence": True,
                        "compression.type": codec,
                        "batch.num.messages": batch_records,
                        "linger.ms": 3,
                        **_PATIENT,
                    }
                )
            return self._producers[codec, batch_records]

    # --- transactions

    def _in_transaction(self, name: str, burst: Burst) -> None:
        place = burst.topic, burst.writer
        producer = self._transactional.get(place)
        if burst.action == "begin":
            if producer is None:
                producer = self._transactional[place] = self._open(*place)
            producer.begin_transaction()
        elif producer is None:
            return  # its begin failed
        elif burst.action == "records":
            self._write(producer, name, burst)
        elif burst.action == "commit":
            producer.commit_transaction(15)
        else:
            producer.abort_transaction(15)

    def _open(self, topic: int, writer: int) -> Producer:
        options: dict[str, Any] = {**_PATIENT, "message.timeout.ms": 20_000}
        producer = Producer(
            {
                "bootstrap.servers": self._cluster.bootstrap_servers,
                "transactional.id": f"{self._names[topic]}-{writer}",
                "transaction.timeout.ms": 20_000,
                "linger.ms": 3,
                **options,
            }
        )
        producer.init_transactions(15)
        return producer

    def _recover(self, topic: int, writer: int) -> None:
        producer = self._transactional.get((topic, writer))
        try:
            if producer is not None:
                producer.abort_transaction(5)
        except KafkaException:
            self._transactional[topic, writer] = None  # the next one with its id fences what it left

    def _end(self, topic: int, writer: int, producer: Producer | None) -> None:
        """A new producer with the same id ends whatever the old one has left open."""
        if producer is not None:
            producer.purge()
        eventually(lambda: self._open(topic, writer) is not None, 40, f"transactions of {self._names[topic]} end")

    # --- the topic itself

    def _delete(self, name: str, burst: Burst) -> None:
        place = TopicPartition(name, burst.partition)
        ends = [
            self._admin.list_offsets({place: spec}, request_timeout=5)[place].result().offset
            for spec in (OffsetSpec.earliest(), OffsetSpec.latest())
        ]
        before = ends[0] + (ends[1] - ends[0]) * (burst.salt % 101) // 100
        self._delete_before(name, burst.partition, before)
        self._deleted[name, burst.partition] = max(before, self._deleted.get((name, burst.partition), 0))

    def _grow(self, name: str, total: int) -> None:
        def grown() -> bool:
            try:
                add_partitions(self._cluster, name, total)
            except KafkaException as error:
                if error.args[0].code() == KafkaError.INVALID_PARTITIONS:
                    return True  # the try before came through
                raise
            return True

        eventually(grown, 30, f"{name} grows", 0.3)
