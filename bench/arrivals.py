"""Consumes a topic in a process of its own, which notes when each record arrives: `python -m bench.arrivals`.

What it notes lies in a file that both processes have in memory, so neither has to ask the other.
"""

import mmap
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from confluent_kafka import Consumer, TopicPartition

from bench.contenders.job import Command, Job
from bench.process import running

_MOST: Final = 200_000
_CELL: Final = 8
_CELLS: Final = 1 + 2 * _MOST
"""How many have arrived; of each how long it was under way, and when it came, in ns."""


class Arrivals:
    """What has arrived so far, read and written through `path`."""

    def __init__(self, path: Path) -> None:
        with path.open("r+b") as file:
            self._cells = memoryview(mmap.mmap(file.fileno(), _CELLS * _CELL)).cast("q")

    @staticmethod
    def make(path: Path) -> "Arrivals":
        with path.open("wb") as file:
            file.truncate(_CELLS * _CELL)
        return Arrivals(path)

    def __len__(self) -> int:
        return self._cells[0]

    def add(self, sent_ns: int, arrived_ns: int) -> None:
        """Raises IndexError when there is no room for more."""
        count = self._cells[0]
        self._cells[1 + 2 * count] = arrived_ns - sent_ns
        self._cells[2 + 2 * count] = arrived_ns
        self._cells[0] = count + 1

    def under_way_ms(self, began_s: float, lasted_s: float) -> list[float]:
        """Of the records that were produced in that time of the monotonic clock."""
        start, stop = began_s * 1e9, (began_s + lasted_s) * 1e9
        count = len(self)
        pairs = zip(self._cells[1 : 1 + 2 * count : 2], self._cells[2 : 2 + 2 * count : 2], strict=True)
        return [under_way / 1e6 for under_way, arrived in pairs if start <= arrived - under_way <= stop]


@contextmanager
def reading(bootstrap: str, topic: str, job: Job) -> Iterator[Arrivals]:
    """A process consumes all partitions of the topic, once it exists, from their start."""
    path = job.directory / "arrivals"
    arrivals = Arrivals.make(path)
    arguments = [sys.executable, "-m", "bench.arrivals", bootstrap, topic, str(job.partitions), str(path)]
    with running(Command(arguments), job.directory / "arrivals.log"):
        yield arrivals


def _read_for_ever(bootstrap: str, topic: str, partitions: int, arrivals: Arrivals) -> None:
    consumer = Consumer(
        {"bootstrap.servers": bootstrap, "group.id": "bench-pace", "fetch.wait.max.ms": 100, "fetch.min.bytes": 1}
    )
    # A mirror may make its topic late: asking does not make it.
    while topic not in consumer.list_topics(timeout=30).topics:
        time.sleep(0.2)
    consumer.assign([TopicPartition(topic, partition, 0) for partition in range(partitions)])
    while True:
        message = consumer.poll(0.1)
        if message is not None and message.error() is None:
            now = time.monotonic_ns()
            arrivals.add(int.from_bytes(message.value()[:8]), now)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _read_for_ever(sys.argv[1], sys.argv[2], int(sys.argv[3]), Arrivals(Path(sys.argv[4])))
