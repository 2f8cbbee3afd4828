"""How long a record is under way at 1,000 records a second: produced at the source until consumed at the destination.

Every record carries the time at which its producer was given it; both ends are in this process, so there is one clock.
"""

import os
import statistics
import subprocess
import threading
import time
from dataclasses import dataclass
from typing import Final, Self

from confluent_kafka import Consumer, Producer, TopicPartition

from bench.contenders import Contender, Job
from bench.loads import RECORD_BYTES
from bench.meter import cpu_seconds
from bench.process import check_alive, running

TOPIC: Final = "pace"
RATE: Final = 1000
_START_S: Final = 120
_LAST_S: Final = 60


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds; `cpu_percent` of one core, by the mirror's process."""

    contender: str
    records: int
    p50_ms: float
    p99_ms: float
    max_ms: float
    cpu_percent: float


class _Reader:
    """Consumes a topic from its start, and keeps (time under way, time of arrival) of each record."""

    def __init__(self, bootstrap: str) -> None:
        self.seen: list[tuple[int, int]] = []
        self._stop = False
        self._consumer = Consumer(
            {"bootstrap.servers": bootstrap, "group.id": "bench-pace", "fetch.wait.max.ms": 100, "fetch.min.bytes": 1}
        )
        self._thread = threading.Thread(target=self._read, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop = True
        self._thread.join()
        self._consumer.close()

    def _read(self) -> None:
        # A mirror may make its topic late: asking does not make it.
        while not self._stop and TOPIC not in self._consumer.list_topics(timeout=30).topics:
            time.sleep(0.2)
        self._consumer.assign([TopicPartition(TOPIC, 0, 0)])
        while not self._stop:
            message = self._consumer.poll(0.1)
            if message is not None and message.error() is None:
                now = time.monotonic_ns()
                self.seen.append((now - int.from_bytes(message.value()[:8]), now))


class _Pacer:
    """Produces at a steady rate: as many as are due, looked at each millisecond."""

    def __init__(self, bootstrap: str) -> None:
        self._producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 0, "acks": "all"})
        self._rest = os.urandom(RECORD_BYTES - 8)

    def one(self) -> None:
        self._producer.produce(TOPIC, time.monotonic_ns().to_bytes(8) + self._rest, partition=0)
        self._producer.poll(0)

    def steady(self, seconds: float) -> int:
        """Returns how many it sent."""
        started = time.monotonic()
        sent = 0
        while sent < seconds * RATE:
            due = min(int((time.monotonic() - started) * RATE), int(seconds * RATE))
            while sent < due:
                self.one()
                sent += 1
            time.sleep(0.001)
        self._producer.flush(30)
        return sent


def measure_latency(name: str, contender: Contender | None, job: Job, *, warm_s: float, seconds: float) -> Latency:
    """Without a contender the source itself is consumed: what the clients and a broker take by themselves."""
    job.stage.create(job.stage.source, TOPIC, 1)
    pacer = _Pacer(job.stage.source.bootstrap_servers)
    if contender is None:
        with _Reader(job.stage.source.bootstrap_servers) as reader:
            return _measure(name, pacer, reader, None, warm_s=warm_s, seconds=seconds)
    command = contender(job)
    log = job.directory / "output.log"
    with running(command, log) as process, _Reader(job.stage.destination.bootstrap_servers) as reader:
        deadline = time.monotonic() + _START_S
        while not reader.seen:  # it has begun to copy
            check_alive(process, log)
            if time.monotonic() > deadline:
                raise TimeoutError(f"{name} copied nothing within {_START_S} s")
            pacer.one()
            time.sleep(0.2)
        return _measure(name, pacer, reader, process, warm_s=warm_s, seconds=seconds)


def _measure(
    name: str,
    pacer: _Pacer,
    reader: _Reader,
    process: subprocess.Popen[bytes] | None,
    *,
    warm_s: float,
    seconds: float,
) -> Latency:
    pacer.steady(warm_s)
    began, cpu = time.monotonic(), cpu_seconds(process.pid) if process else 0.0
    sent = pacer.steady(seconds)
    cpu = (cpu_seconds(process.pid) if process else 0.0) - cpu
    lasted = time.monotonic() - began
    deadline = time.monotonic() + _LAST_S
    while len(times := _times(reader, began, lasted)) < sent:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{name}: {len(times)} of {sent} records arrived")
        time.sleep(0.05)
    cuts = statistics.quantiles(times, n=100)
    return Latency(name, sent, cuts[49], cuts[98], max(times), 100 * cpu / lasted)


def _times(reader: _Reader, began: float, lasted: float) -> list[float]:
    """Milliseconds of the records that were produced in the window."""
    start, stop = began * 1e9, (began + lasted) * 1e9
    return [under_way / 1e6 for under_way, arrived in reader.seen if start <= arrived - under_way <= stop]
