"""Fills the source by Kafka's own ProducerPerformance, and says what batches came of it."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.loads import Load
from bench.odd_logs import fill_compacted, fill_transactions, fill_unevenly
from bench.segments import TopicTail
from bench.stage import Stage

_FOR_EVER: Final = 1 << 31


@dataclass(frozen=True, slots=True)
class Filled:
    """What the source's log really holds: `records` are those that a reader sees, `gaps` the offsets without one."""

    records: int
    gaps: int
    batches: int
    log_bytes: int

    @property
    def batch_bytes(self) -> float:
        return self.log_bytes / self.batches


def fill(stage: Stage, load: Load, payloads: Path) -> Filled:
    stage.create(stage.source, load.topic, load.partitions)
    if load.append_time:
        stage.configure(stage.source, load.topic, {"message.timestamp.type": "LogAppendTime"})
    if load.hole:
        fill_compacted(stage, load, payloads)
    elif load.transaction:
        fill_transactions(stage, load, payloads)
    elif load.uneven:
        fill_unevenly(stage, load, payloads)
    else:
        done = subprocess.run(
            _command(stage, load, payloads, load.records), capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise RuntimeError(f"the source could not be filled: {done.stdout[-400:]} {done.stderr[-2000:]}")
    tail = TopicTail(stage.source, load.topic, load.partitions)
    found = tail.read()
    aborted = load.records // load.aborted if load.aborted else 0
    if found != load.records + aborted and not load.hole:
        raise RuntimeError(f"the source holds {found} records, not {load.records + aborted}")
    return Filled(found - aborted, tail.end - (found - aborted), tail.batches, tail.bytes)


@contextmanager
def traffic(stage: Stage, load: Load, payloads: Path) -> Iterator[None]:
    """Within the block a producer goes on at the load's rate, if it has one."""
    if not load.traffic:
        yield
        return
    with (stage.directory / "traffic.log").open("wb") as log:
        command = _command(stage, load, payloads, _FOR_EVER, load.traffic)
        producer = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    try:
        yield
    finally:
        producer.kill()
        producer.wait()


def _command(stage: Stage, load: Load, payloads: Path, records: int, rate: int = -1) -> list[str]:
    properties = {
        "compression.type": load.compression,
        "batch.size": load.batch_bytes,
        "linger.ms": 5 if rate > 0 else 100,  # the batch is full before that
        "buffer.memory": 64 << 20,
        "acks": "all",
    }
    return [
        str(stage.runtime.java),
        "-Xmx512m",
        "-cp",
        stage.runtime.class_path,
        "org.apache.kafka.tools.ProducerPerformance",
        *("--bootstrap-server", stage.source.bootstrap_servers),
        *("--topic", load.topic),
        *("--num-records", str(records)),
        *("--throughput", str(rate)),
        *("--payload-file", str(payloads)),
        "--command-property",
        *(f"{key}={value}" for key, value in properties.items()),
    ]
