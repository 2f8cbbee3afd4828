"""One contender copies one load: how fast, at what cost."""

import time
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Final

from bench.contenders import Contender, Job
from bench.loads import Load
from bench.meter import Usage, peak_rss_megabytes, usage, with_children
from bench.process import check_alive, running
from bench.segments import TopicTail
from bench.stage import Stage

_POLL_S: Final = 0.02
_REST: Final = 5  # times what a look takes: at many partitions looking costs, and the mirror shares the cores
_STALL_S: Final = 120
_JUST_NOW_S: Final = 0.2


@dataclass(frozen=True, slots=True)
class Copied:
    """Megabytes are those of the records, whatever they weigh on the wire.

    The window lasts from the first records at the destination to the last; `cpu` is of the window alone.
    """

    contender: str
    load: str
    startup_s: float
    window_s: float
    megabytes: float
    cpu: Usage
    peak_rss_megabytes: float
    destination_batch_bytes: float

    @property
    def rate(self) -> float:
        return self.megabytes / self.window_s

    @property
    def per_cpu(self) -> float:
        """Megabytes a CPU-second of the mirror's process."""
        return self.megabytes / max(self.cpu.mirror, 0.01)

    @property
    def per_broker_cpu(self) -> float:
        """Megabytes a CPU-second of both brokers together."""
        return self.megabytes / max(self.cpu.source + self.cpu.destination, 0.01)


@dataclass(frozen=True, slots=True)
class _Sample:
    at: float
    records: int
    cpu: Usage


def measure(
    name: str,
    contender: Contender,
    job: Job,
    load: Load,
    *,
    check: Callable[[], None] | None = None,
    traffic: AbstractContextManager[None] | None = None,
) -> Copied:
    """Runs `contender` until all is copied, under `traffic`; `check` is called while the copy still stands.

    Under traffic all is copied once the destination has what the source had a moment before.
    """
    command = contender(job)
    log = job.directory / "output.log"
    started = time.monotonic()
    with running(command, log) as process:
        with traffic or nullcontext():
            goal = _Goal(job.stage, load)
            tail = TopicTail(job.stage.destination, load.topic, load.partitions)
            pids = (process.pid, *job.stage.source.pids, *job.stage.destination.pids)

            def sample() -> _Sample:
                records = tail.read()
                return _Sample(time.monotonic(), records, usage(*pids))

            began = time.monotonic()
            first = last = sample()
            look_s = time.monotonic() - began
            while last.records < goal.records():
                time.sleep(max(_POLL_S, _REST * look_s))
                check_alive(process, log)
                now = sample()
                if now.records > last.records or now.at - last.at < _STALL_S:
                    last = now if now.records > last.records else last
                else:
                    raise TimeoutError(f"{name}: {last.records} of {load.records} records, none for {_STALL_S} s")
                first = last if not first.records else first
            if last is first:
                raise RuntimeError(f"{name}: all was copied between two looks: the load is too small to measure")
        rss = sum(map(peak_rss_megabytes, with_children(process.pid)))
        if check:
            check()
    return Copied(
        contender=name,
        load=load.name,
        startup_s=first.at - started,
        window_s=last.at - first.at,
        megabytes=(last.records - first.records) * load.record_bytes / 1e6,
        cpu=last.cpu - first.cpu,
        peak_rss_megabytes=rss,
        destination_batch_bytes=tail.bytes / max(1, tail.batches),
    )


class _Goal:
    """How many records the destination is to have: those of the load; under traffic, what the source had before."""

    def __init__(self, stage: Stage, load: Load) -> None:
        self._least = load.records
        self._source = TopicTail(stage.source, load.topic, load.partitions) if load.traffic else None
        self._seen: deque[tuple[float, int]] = deque()

    def records(self) -> int:
        if self._source is None:
            return self._least
        now = time.monotonic()
        self._seen.append((now, self._source.read()))
        while now - self._seen[0][0] > _JUST_NOW_S:
            self._least = self._seen.popleft()[1]
        return self._least
