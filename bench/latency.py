"""How long a record is under way at 1,000 records a second over 10 partitions: from its producer until it is consumed.

Every record carries the time at which its producer was given it. Producer and reader are processes of their own, so
that neither waits for the other; the system's monotonic clock is the same for both.
"""

import os
import statistics
import subprocess
import time
from dataclasses import dataclass
from typing import Final

from confluent_kafka import Producer

from bench.arrivals import Arrivals, reading
from bench.contenders import Contender, Job
from bench.loads import RECORD_BYTES
from bench.meter import cpu_seconds
from bench.process import check_alive, running

TOPIC: Final = "pace"
RATE: Final = 1000
PARTITIONS: Final = 10
FLOOR: Final = "floor"
"""The record loop in its eager form: the least that a mirror outside of the brokers can take."""
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


class _Pacer:
    """Produces at a steady rate, to the partitions in turn: as many as are due, looked at each millisecond."""

    def __init__(self, bootstrap: str) -> None:
        self._producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 0, "acks": "all"})
        self._rest = os.urandom(RECORD_BYTES - 8)
        self._partition = 0

    def one(self) -> None:
        self._partition = (self._partition + 1) % PARTITIONS
        self._producer.produce(TOPIC, time.monotonic_ns().to_bytes(8) + self._rest, partition=self._partition)
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
    """Without a contender the source itself is consumed: what the clients and one broker take by themselves."""
    job.stage.create(job.stage.source, TOPIC, job.partitions)
    pacer = _Pacer(job.stage.source.bootstrap_servers)
    if contender is None:
        with reading(job.stage.source.bootstrap_servers, TOPIC, job) as arrivals:
            return _measure(name, pacer, arrivals, None, warm_s=warm_s, seconds=seconds)
    command = contender(job)
    log = job.directory / "output.log"
    with (
        running(command, log) as process,
        reading(job.stage.destination.bootstrap_servers, TOPIC, job) as arrivals,
    ):
        deadline = time.monotonic() + _START_S
        while not len(arrivals):  # it has begun to copy
            check_alive(process, log)
            if time.monotonic() > deadline:
                raise TimeoutError(f"{name} copied nothing within {_START_S} s")
            pacer.one()
            time.sleep(0.2)
        return _measure(name, pacer, arrivals, process, warm_s=warm_s, seconds=seconds)


def _measure(
    name: str,
    pacer: _Pacer,
    arrivals: Arrivals,
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
    while len(times := arrivals.under_way_ms(began, lasted)) < sent:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{name}: {len(times)} of {sent} records arrived")
        time.sleep(0.05)
    cuts = statistics.quantiles(times, n=100)
    return Latency(name, sent, cuts[49], cuts[98], max(times), 100 * cpu / lasted)
