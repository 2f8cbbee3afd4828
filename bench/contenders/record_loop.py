"""A record loop: what one writes by hand with confluent-kafka. Every record is consumed, and produced as it was.

Records are taken in lots, and produced with the original partition, timestamp and headers. (`produce_batch` can't
carry headers.) Large fetches and batches, the source's compression, acks=all, no idempotence, no callback a record.

In its eager form it is what takes the least time: each record is polled alone, and sent at once with nothing but key
and value. (`consume` waits until its lot is full or its time is over.)
"""

import signal
import sys

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from bench.contenders.job import Command, Job

_LOT = 5000


def prepare(job: Job) -> Command:
    stage = job.stage
    stage.create(stage.destination, job.topic, job.partitions)
    return Command(
        [
            *(sys.executable, "-m", "bench.contenders.record_loop"),
            *(stage.source.bootstrap_servers, stage.destination.bootstrap_servers),
            *(job.topic, str(job.partitions), job.compression),
            *(["--eager"] if job.eager else []),
        ]
    )


def copy_for_ever(source: str, destination: str, topic: str, partitions: int, compression: str) -> None:
    consumer = Consumer(
        {
            "bootstrap.servers": source,
            "group.id": "bench-loop",
            "enable.auto.commit": False,
            "fetch.message.max.bytes": 8 << 20,
            "queued.max.messages.kbytes": 128 << 10,
            "queued.min.messages": 100_000,
        }
    )
    producer = Producer(
        {
            "bootstrap.servers": destination,
            "acks": "all",
            "enable.idempotence": False,
            "compression.type": compression,
            "linger.ms": 10,
            "batch.size": 1_000_000,
            "batch.num.messages": 100_000,
            "queue.buffering.max.messages": 500_000,
            "queue.buffering.max.kbytes": 128 << 10,
        }
    )
    consumer.assign([TopicPartition(topic, partition, 0) for partition in range(partitions)])
    while True:
        for message in consumer.consume(_LOT, 0.1):
            error = message.error()
            if error is not None:
                _tolerate(error)
                continue
            _produce(producer, topic, message)
        producer.poll(0)


def pass_on_for_ever(source: str, destination: str, topic: str, partitions: int, compression: str) -> None:
    """Each record by itself, as soon as it comes."""
    consumer = Consumer(
        {"bootstrap.servers": source, "group.id": "bench-loop", "enable.auto.commit": False, "fetch.wait.max.ms": 100}
    )
    producer = Producer(
        {"bootstrap.servers": destination, "acks": "all", "linger.ms": 0, "compression.type": compression}
    )
    consumer.assign([TopicPartition(topic, partition, 0) for partition in range(partitions)])
    while True:
        message = consumer.poll(0.1)
        if message is not None:
            error = message.error()
            if error is not None:
                _tolerate(error)
            else:
                producer.produce(topic, message.value(), message.key(), message.partition())
        producer.poll(0)


def _produce(producer: Producer, topic: str, message: Message) -> None:
    while True:
        try:
            producer.produce(
                topic,
                message.value(),
                message.key(),
                message.partition(),
                timestamp=message.timestamp()[1],
                headers=message.headers(),
            )
        except BufferError:
            producer.poll(0.05)
        else:
            return


def _tolerate(error: KafkaError) -> None:
    if not error.retriable() and error.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001  its public name
        raise KafkaException(error)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    copy = pass_on_for_ever if sys.argv[6:] == ["--eager"] else copy_for_ever
    copy(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), sys.argv[5])
