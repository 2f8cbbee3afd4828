"""A plain producer and a plain consumer, as any application has them: what the demo writes with and judges by.

They use nothing else of kmirror, so that a fault of the mirror cannot hide in how it is looked at.
"""

import json
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest
from typing import Final

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from kmirror.admin.background import InBackground
from kmirror.errors import ClusterError, NotReached

_TICK_S: Final = 0.05
_SILENCE_S: Final = 30.0  # so long a read may bring nothing before it is given up
_BATCH: Final = 1000
_WAIT_S: Final = 0.1  # for a whole batch: the last one is never whole

Seen = tuple[int, bytes | None, bytes | None, tuple[tuple[str, str | bytes | None], ...], tuple[int, int]]
"""What a consumer sees of a record: offset, key, value, headers, (kind of timestamp, timestamp)."""


class OrderTraffic(InBackground):
    """Produces orders at a steady rate, from `with` to its end; `sent` were confirmed."""

    def __init__(self, bootstrap: str, topic: str, per_second: int) -> None:
        super().__init__("orders")
        self.sent = 0
        self._topic = topic
        self._per_second = per_second
        self._error: KafkaError | None = None
        self._producer = Producer(
            {"bootstrap.servers": bootstrap, "linger.ms": 20, "compression.type": "lz4", "acks": "all", "log_level": 0}
        )

    def stop(self) -> int:
        """Ends the traffic and returns how many orders were confirmed; raises ClusterError if one was refused."""
        self.end()
        return self.sent

    def _check(self) -> None:
        left = self._producer.flush(_SILENCE_S)
        if self._error is not None:
            raise ClusterError(f"an order was not taken: {self._error.str()}")
        if left:
            raise NotReached(f"{left} orders were not confirmed within {_SILENCE_S:.0f} s")

    def _run(self) -> None:
        started, done = time.monotonic(), 0
        while not self._ending.wait(_TICK_S):
            due = int((time.monotonic() - started) * self._per_second)
            try:
                while done < due:
                    self._send(done)
                    done += 1
            except BufferError:
                pass  # the cluster takes less than this: go on from here when it has taken some
            self._producer.poll(0)

    def _send(self, number: int) -> None:
        order = {"order": number, "item": random.choice(_ITEMS), "cents": random.randrange(100, 100_000)}
        self._producer.produce(
            self._topic,
            key=f"customer-{number % 997}",
            value=json.dumps(order),
            headers=[("trace", random.randbytes(8)), ("channel", b"web")],
            on_delivery=self._delivered,
        )

    def _delivered(self, error: KafkaError | None, _message: Message) -> None:
        if error is None:
            self.sent += 1
        else:
            self._error = error


_ITEMS: Final = ("apples", "bread", "cheese", "dates", "eggs", "figs")


@dataclass(frozen=True, slots=True)
class Comparison:
    """`ends` are the destination's log ends, `later` the source's records beyond them."""

    ends: tuple[int, ...]
    records: int
    later: int
    differences: tuple[str, ...]

    @property
    def equal(self) -> bool:
        """An empty comparison proves nothing."""
        return self.records > 0 and not self.differences


def compare(source: str, destination: str, topic: str, partitions: int) -> Comparison:
    """Every record below the destination's log ends, on both sides: offset, key, value, headers, timestamp."""
    ends = log_ends(destination, topic, partitions)
    source_ends = log_ends(source, topic, partitions)
    records, differences = 0, []
    for partition, end in enumerate(ends):
        theirs = _read(source, topic, partition, end)
        ours = _read(destination, topic, partition, end)
        for expected, found in zip_longest(theirs, ours):
            records += 1
            if expected != found:
                differences.append(f"partition {partition}: source {expected}, destination {found}")
                break  # everything behind a shift differs too
    later = sum(max(0, theirs - ours) for theirs, ours in zip(source_ends, ends, strict=True))
    return Comparison(ends, records, later, tuple(differences))


def log_ends(bootstrap: str, topic: str, partitions: int) -> tuple[int, ...]:
    consumer = _consumer(bootstrap)
    try:
        places = [TopicPartition(topic, partition) for partition in range(partitions)]
        return tuple(consumer.get_watermark_offsets(place, timeout=_SILENCE_S)[1] for place in places)
    except KafkaException as e:
        raise ClusterError(f'cannot read the ends of topic "{topic}" at {bootstrap}: {e.args[0].str()}') from e
    finally:
        consumer.close()


def _read(bootstrap: str, topic: str, partition: int, end: int) -> Iterator[Seen]:
    """The partition's records below `end`, as an application gets them."""
    consumer = _consumer(bootstrap)
    try:
        consumer.assign([TopicPartition(topic, partition, 0)])
        deadline = time.monotonic() + _SILENCE_S
        while time.monotonic() < deadline:
            for message in consumer.consume(_BATCH, timeout=_WAIT_S):
                failed, offset = message.error(), message.offset()
                if failed is not None and failed.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001
                    raise ClusterError(f'cannot read topic "{topic}" at {bootstrap}: {failed.str()}')
                assert offset is not None  # a record and the end of a partition both have one
                if failed is None and offset < end:
                    yield _seen(offset, message)
                if offset >= end - (failed is None):
                    return
                deadline = time.monotonic() + _SILENCE_S
        raise NotReached(f'topic "{topic}" partition {partition} at {bootstrap} gave no record for {_SILENCE_S:.0f} s')
    finally:
        consumer.close()


def _consumer(bootstrap: str) -> Consumer:
    return Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "kmirror-demo",  # asked for by the library; nothing is committed
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "error",  # a missing offset is a difference, not a reason to go elsewhere
            "isolation.level": "read_uncommitted",  # what is there at all, not only what is committed
            "check.crcs": True,
            "log_level": 0,
        }
    )


def _seen(offset: int, message: Message) -> Seen:
    # The library types headers as whatever can be sent; what it hands out is a list of pairs, in order.
    headers = tuple((str(pair[0]), pair[1]) for pair in message.headers() or ())
    return offset, message.key(), message.value(), headers, message.timestamp()
