"""What a compacted topic is for: the last value of each key, and where it lies."""

import time

from confluent_kafka import Consumer, TopicPartition

from support.logs import Isolation, Topic


def all_records(
    bootstrap: str, topic: str, isolation: Isolation = Isolation.COMMITTED
) -> list[tuple[int, bytes | None, bytes | None]]:
    """(offset, key, value) of partition 0."""
    bounds = Topic(bootstrap, topic, time.monotonic() + 20).bounds()[0]
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "reader",
            "isolation.level": isolation.value,
            "enable.partition.eof": True,
            "enable.auto.commit": False,
        }
    )
    consumer.assign([TopicPartition(topic, 0, bounds.start)])
    out = []
    try:
        while True:
            message = consumer.poll(20)
            assert message is not None, f"no end of {topic}"
            if message.error():
                return out
            out.append((message.offset(), message.key(), message.value()))
    finally:
        consumer.close()


def last_values(
    bootstrap: str, topic: str, isolation: Isolation = Isolation.COMMITTED
) -> dict[bytes | None, tuple[int, bytes | None]]:
    return {key: (offset, value) for offset, key, value in all_records(bootstrap, topic, isolation)}
