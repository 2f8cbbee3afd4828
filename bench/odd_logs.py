"""Source logs that ProducerPerformance does not write: of transactions, compacted ones, and uneven partitions."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle
from pathlib import Path
from random import Random
from typing import Final

from confluent_kafka import Producer

from bench.loads import Load
from bench.segments import TopicTail
from bench.stage import Stage

_WAIT_S: Final = 120
_CLEANER_S: Final = 3  # it looks each second
_SEGMENT_BYTES: Final = 1 << 20  # the least that Kafka takes; what is active is never compacted
_COMPACTED: Final = {
    "cleanup.policy": "compact",
    "segment.bytes": str(_SEGMENT_BYTES),
    "min.cleanable.dirty.ratio": "0.01",
}


def fill_transactions(stage: Stage, load: Load, payloads: Path) -> None:
    """A producer for each partition; the aborted transactions come on top of the records."""
    with ThreadPoolExecutor(load.partitions) as pool:
        list(pool.map(lambda partition: _transactions(stage, load, payloads, partition), range(load.partitions)))


def _transactions(stage: Stage, load: Load, payloads: Path, partition: int) -> None:
    producer = _producer(stage, load, {"transactional.id": f"bench-{load.name}-{partition}"})
    producer.init_transactions(_WAIT_S)
    values = _values(payloads)
    committed, number = 0, 0
    wanted = load.records // load.transaction // load.partitions
    while committed < wanted or _aborts(load, number):
        producer.begin_transaction()
        for _ in range(load.transaction):
            producer.produce(load.topic, next(values), partition=partition)
        if _aborts(load, number):
            producer.flush(_WAIT_S)  # an abort drops what was not yet sent
            producer.abort_transaction(_WAIT_S)
        else:
            producer.commit_transaction(_WAIT_S)
            committed += 1
        number += 1


def _aborts(load: Load, number: int) -> bool:
    """Behind each `load.aborted` that are committed comes one that is aborted."""
    return bool(load.aborted) and number % (load.aborted + 1) == load.aborted


def fill_compacted(stage: Stage, load: Load, payloads: Path) -> None:
    """Returns when the cleaner has been over all but the active segments; the topic is not compacted any more then."""
    stage.configure(stage.source, load.topic, _COMPACTED)
    producer = _producer(stage, load, {})
    values = _values(payloads)
    for number in range(2 * load.records):
        partition, place = number % load.partitions, number // load.partitions
        goes = place // load.hole % 2
        key = b"of all only the last stays" if goes else b"%d" % place
        _produce(producer, load.topic, next(values), key, partition)
    producer.flush(_WAIT_S)
    _await_cleaner(stage, load)
    stage.configure(stage.source, load.topic, {"cleanup.policy": "delete"})


def fill_unevenly(stage: Stage, load: Load, payloads: Path) -> None:
    producer = _producer(stage, load, {})
    values = _values(payloads)
    weights = [1 / number for number in range(1, load.partitions + 1)]
    for partition in Random(load.name).choices(range(load.partitions), weights, k=load.records):
        _produce(producer, load.topic, next(values), None, partition)
    producer.flush(_WAIT_S)


def _produce(producer: Producer, topic: str, value: bytes, key: bytes | None, partition: int) -> None:
    while True:
        try:
            producer.produce(topic, value, key, partition)
        except BufferError:
            producer.poll(0.05)
        else:
            return


def _await_cleaner(stage: Stage, load: Load) -> None:
    most = load.records + load.partitions * (_SEGMENT_BYTES // load.record_bytes)
    deadline = time.monotonic() + _WAIT_S
    before = 0
    while (found := TopicTail(stage.source, load.topic, load.partitions).read()) != before or found > most:
        if time.monotonic() > deadline:
            raise TimeoutError(f"the source was not compacted within {_WAIT_S} s")
        before = found
        time.sleep(_CLEANER_S)


def _producer(stage: Stage, load: Load, more: dict[str, str]) -> Producer:
    return Producer(
        {
            "bootstrap.servers": stage.source.bootstrap_servers,
            "compression.type": load.compression,
            "batch.size": load.batch_bytes,
            "linger.ms": 100,  # the batch is full before that
            **more,
        }
    )


def _values(payloads: Path) -> Iterator[bytes]:
    return cycle(payloads.read_bytes().splitlines())
