"""An application that reads as a consumer group, and what such a group saw on two clusters together."""

import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Self

from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, KafkaError, KafkaException, Message
from confluent_kafka.admin import AdminClient

from kmirror.sandbox import KafkaCluster

Spot = tuple[int, int]
"""Partition and offset."""


@dataclass(slots=True)
class Seen:
    """What one group read, wherever it ran: each record's value, by its place."""

    values: list[bytes] = field(default_factory=list)

    def add(self, messages: Iterable[Message]) -> None:
        self.values += [value for message in messages if (value := message.value()) is not None]

    def lost(self, expected: Iterable[bytes]) -> list[bytes]:
        return sorted(set(expected) - set(self.values))

    @property
    def again(self) -> int:
        """Records that were read more than once."""
        return sum(count - 1 for count in Counter(self.values).values())


class GroupConsumer:
    """One member of `group`, reading `topic`; a group that has committed nothing begins at the start.

    `reset` is what it does where the committed offset is out of range; as an "error" that fails the test.
    """

    def __init__(
        self, cluster: KafkaCluster, group: str, topic: str, *, protocol: str = "classic", reset: str = "earliest"
    ) -> None:
        classic = {"session.timeout.ms": 6000} if protocol == "classic" else {}
        self._consumer = Consumer(
            {
                "bootstrap.servers": cluster.bootstrap_servers,
                "group.id": group,
                "group.protocol": protocol,
                "enable.auto.commit": False,
                "auto.offset.reset": reset,
                "enable.partition.eof": True,
                "log_level": 2,
                **classic,
            }
        )
        self._topic = topic
        self._at_end: set[int] = set()

    def __enter__(self) -> Self:
        self._consumer.subscribe([self._topic])
        return self

    def __exit__(self, *_: object) -> None:
        self._consumer.close()

    def read(self, count: int, timeout: float = 40) -> list[Message]:
        """The next `count` records; raises TimeoutError with how many came."""
        got: list[Message] = []
        deadline = time.monotonic() + timeout
        while len(got) < count:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{len(got)} of {count} records came from {self._topic} within {timeout} s")
            got += self._take(count - len(got), 0.2)
        return got

    def read_rest(self, timeout: float = 40) -> list[Message]:
        """All from where the group is up to the ends of all partitions; at once where it is there."""
        got: list[Message] = []
        deadline = time.monotonic() + timeout
        while not self._at_end or self._at_end != {place.partition for place in self._consumer.assignment()}:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self._topic} was not read to its end within {timeout} s")
            got += self._take(500, 0.2)
        return got

    def commit(self) -> None:
        """Commits what was read, and waits for it."""
        self._consumer.commit(asynchronous=False)

    def _take(self, most: int, wait_s: float) -> list[Message]:
        got = []
        for message in self._consumer.consume(most, timeout=wait_s):
            error = message.error()
            if error is None:
                got.append(message)
                self._at_end.discard(message.partition())
            elif error.code() != KafkaError._PARTITION_EOF:
                raise KafkaException(error)
            else:  # told once, until more comes
                self._at_end.add(message.partition())
        return got


def committed(cluster: KafkaCluster, group: str, topic: str) -> dict[int, int]:
    """Committed offsets of a group, by partition."""
    client = AdminClient({"bootstrap.servers": cluster.bootstrap_servers, "log_level": 2})
    found = client.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)])[group].result(20)
    places = found.topic_partitions or []
    return {p.partition: p.offset for p in places if p.topic == topic and p.offset >= 0}


def delete_group(cluster: KafkaCluster, group: str) -> None:
    client = AdminClient({"bootstrap.servers": cluster.bootstrap_servers, "log_level": 2})
    client.delete_consumer_groups([group])[group].result(20)
