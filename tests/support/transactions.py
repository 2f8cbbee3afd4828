"""Transactions, and log starts that move: what makes offsets without records."""

import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from confluent_kafka import IsolationLevel, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from support.traffic import Record, send
from support.wait import eventually


class Transactions:
    """A transactional producer; `write` returns when the records are in the log."""

    def __init__(self, bootstrap: str, name: str) -> None:
        self._producer = Producer(
            {"bootstrap.servers": bootstrap, "transactional.id": name, "linger.ms": 0, "log_level": 2}
        )
        self._producer.init_transactions(30)

    def begin(self) -> None:
        self._producer.begin_transaction()

    def write(self, topic: str, *values: bytes, partition: int = 0) -> None:
        for value in values:
            self._producer.produce(topic, value=value, key=b"k", partition=partition)
        assert self._producer.flush(30) == 0

    def end(self, *, commit: bool) -> None:
        if commit:
            self._producer.commit_transaction(30)
        else:
            self._producer.abort_transaction(30)


def transaction(bootstrap: str, topic: str, records: Iterable[Record], *, commit: bool = True) -> None:
    """Produce these records in a transaction of their own; in each partition it takes one more offset at its end."""
    producer = _producer(bootstrap)
    last = _write(producer, topic, records)
    if commit:
        producer.commit_transaction(30)
    else:
        producer.abort_transaction(30)
    _await_markers(bootstrap, topic, last)


@contextmanager
def open_transaction(bootstrap: str, topic: str, records: Iterable[Record]) -> Iterator[None]:
    """Within the block the records lie in the log beyond the last stable offset; then they are aborted."""
    producer = _producer(bootstrap)
    last = _write(producer, topic, records)
    try:
        yield
    finally:
        producer.abort_transaction(30)
    _await_markers(bootstrap, topic, last)


def delete_records(bootstrap: str, topic: str, before: Mapping[int, int]) -> None:
    """Move the log start of these partitions up to these offsets."""
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 2})
    wanted = [TopicPartition(topic, partition, offset) for partition, offset in before.items()]
    for deleted in admin.delete_records(wanted).values():
        deleted.result()


def _producer(bootstrap: str) -> Producer:
    producer = Producer(
        {"bootstrap.servers": bootstrap, "transactional.id": f"test-{uuid.uuid4()}", "linger.ms": 0, "log_level": 2}
    )
    producer.init_transactions(30)
    producer.begin_transaction()
    return producer


def _write(producer: Producer, topic: str, records: Iterable[Record]) -> dict[int, int]:
    """Produce and wait for every acknowledgement; returns the last offset by partition."""
    failures: list[object] = []
    last: dict[int, int] = {}

    def delivered(error: object, message: Message) -> None:
        if error is None:
            last[message.partition()] = message.offset()
        else:
            failures.append(error)

    for record in records:
        send(producer, topic, record, delivered)
    unsent = producer.flush(30)
    if failures or unsent:
        raise RuntimeError(f'records to "{topic}" in a transaction: {failures or f"{unsent} not acknowledged"}')
    return last


def _await_markers(bootstrap: str, topic: str, last: Mapping[int, int]) -> None:
    """The coordinator answers first and writes the markers then; only they let the stable end pass our records."""
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 2})
    asked = {TopicPartition(topic, partition): OffsetSpec.latest() for partition in last}

    def written() -> bool:
        ends = admin.list_offsets(asked, isolation_level=IsolationLevel.READ_COMMITTED)
        return all(end.result().offset > last[at.partition] for at, end in ends.items())

    eventually(written, 30, f'markers in "{topic}"')
