"""Fills the source by Kafka's own ProducerPerformance, and says what batches came of it."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

from bench.loads import Load
from bench.segments import TopicTail
from bench.stage import Stage


@dataclass(frozen=True, slots=True)
class Filled:
    """What the source's log really holds."""

    records: int
    batches: int
    log_bytes: int

    @property
    def batch_bytes(self) -> float:
        return self.log_bytes / self.batches


def fill(stage: Stage, load: Load, payloads: Path) -> Filled:
    stage.create(stage.source, load.topic, load.partitions)
    properties = {
        "compression.type": load.compression,
        "batch.size": load.batch_bytes,
        "linger.ms": 100,  # the batch is full before that
        "buffer.memory": 64 << 20,
        "acks": "all",
    }
    command = [
        str(stage.runtime.java),
        "-Xmx512m",
        "-cp",
        stage.runtime.class_path,
        "org.apache.kafka.tools.ProducerPerformance",
        *("--bootstrap-server", stage.source.bootstrap_servers),
        *("--topic", load.topic),
        *("--num-records", str(load.records)),
        *("--throughput", "-1"),
        *("--payload-file", str(payloads)),
        "--command-property",
        *(f"{key}={value}" for key, value in properties.items()),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    tail = TopicTail(stage.source, load.topic, load.partitions)
    if done.returncode or tail.read() != load.records:
        raise RuntimeError(f"the source could not be filled: {done.stdout[-400:]} {done.stderr[-2000:]}")
    return Filled(load.records, tail.batches, tail.bytes)
