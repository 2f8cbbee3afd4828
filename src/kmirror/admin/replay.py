"""Saved records produced again, by a plain producer as any application has it."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from confluent_kafka import KafkaError, Message, Producer

from kmirror.admin.client_conf import client_conf
from kmirror.errors import ClusterError
from kmirror.model.access import Access
from kmirror.model.saved_records import SavedRecord

_SILENCE_S: Final = 30.0
_POLL_S: Final = 0.1


@dataclass(slots=True)
class Replayed:
    """`produced` counts by partition what was confirmed, `first` and `last` are the offsets it has now.

    `untimed` were produced with the present time: a client can't produce a timestamp of 0 or none.
    """

    produced: dict[int, int] = field(default_factory=dict)
    first: dict[int, int] = field(default_factory=dict)
    last: dict[int, int] = field(default_factory=dict)
    untimed: int = 0
    failed: int = 0
    error: str = ""

    @property
    def records(self) -> int:
        return sum(self.produced.values())


def replay_records(access: Access, topic: str, records: Iterable[SavedRecord], tell: Callable[[int], None]) -> Replayed:
    """Produces `records` to the same partitions of `topic`, in their order, with key, value, headers and timestamp.

    Stops at the first that is refused: what was confirmed until then is in the result, and `error` says why. Raises
    ClusterError where nothing is confirmed for 30 s. `tell` is given how many are confirmed.
    """
    done = Replayed()
    with client_conf(
        access,
        {
            "enable.idempotence": True,  # the order is kept, and nothing is doubled by a retry
            "message.max.bytes": 1_000_000_000,  # what the topic takes is for its broker to say
            "delivery.timeout.ms": int(_SILENCE_S * 1000),
            "linger.ms": 20,
        },
    ) as conf:
        producer = Producer(conf)

    def delivered(error: KafkaError | None, message: Message) -> None:
        partition, offset = message.partition(), message.offset()
        if error is not None or partition is None or offset is None:
            done.failed += 1
            done.error = done.error or (error.str() if error else "it has no offset")
            return
        done.produced[partition] = done.produced.get(partition, 0) + 1
        done.first.setdefault(partition, offset)
        done.last[partition] = offset

    for record in records:
        _produce(producer, topic, record, delivered, done)
        producer.poll(0)
        tell(done.records)
        if done.failed:
            break
    _flush(producer, done, tell)
    return done


def _produce(
    producer: Producer,
    topic: str,
    record: SavedRecord,
    delivered: Callable[[KafkaError | None, Message], None],
    done: Replayed,
) -> None:
    done.untimed += record.timestamp <= 0
    while True:
        try:
            producer.produce(
                topic,
                value=record.value,
                key=record.key,
                partition=record.partition,
                timestamp=max(0, record.timestamp),
                headers=list(record.headers),
                on_delivery=delivered,
            )
        except BufferError:
            producer.poll(_POLL_S)  # its queue is full
        else:
            return


def _flush(producer: Producer, done: Replayed, tell: Callable[[int], None]) -> None:
    deadline = time.monotonic() + 2 * _SILENCE_S
    left = len(producer)
    while left:
        before, left = left, producer.flush(_POLL_S)
        tell(done.records)
        if left < before:
            deadline = time.monotonic() + 2 * _SILENCE_S
        if time.monotonic() > deadline:
            raise ClusterError(f"{done.records} records were confirmed, {left} were not within {_SILENCE_S:.0f} s")
