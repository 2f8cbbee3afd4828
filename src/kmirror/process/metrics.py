"""What a runner tells Prometheus: its last status and its counters, as OpenMetrics families.

Loaded by a runner that is asked for metrics and by no other. Nothing here waits or touches the event loop: a scrape
reads what is there. Names follow Prometheus' custom: base units, `_total` for what only grows, a gauge a state.
"""

import platform
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Final

from prometheus_client import ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from kmirror import __version__
from kmirror.engine.counters import MirrorCounters
from kmirror.model.states import MirrorState
from kmirror.model.status import LinkState, MirrorStatus, PartitionState, PartitionStatus
from kmirror.model.tasks import TaskState, TaskStatus
from kmirror.process.sights import Readings

_MIRROR_GAUGES: Final[tuple[tuple[str, str, Callable[[MirrorStatus], float | None]], ...]] = (
    ("lag_records", "Offsets that the source holds and the mirror does not, of all partitions.", lambda m: m.lag),
    ("max_partition_lag_records", "The same of the partition that is furthest behind.", lambda m: m.max_lag),
    ("lag_seconds", "Age of the oldest record not yet copied, 0 when all is.", lambda m: _seconds(m.lag_ms)),
    (
        "source_seen_timestamp_seconds",
        "When the source last answered for the partition that it last answered for the longest ago.",
        lambda m: _seconds(m.fetched_ms),
    ),
)
"""Left out while they are not known, and of mirrors that are over."""

_MIRROR_COUNTERS: Final[tuple[tuple[str, str, Callable[[MirrorCounters], int]], ...]] = (
    ("records", "Records whose copy the destination acknowledged.", lambda c: c.records),
    ("bytes", "Bytes of the batches with these records, compressed as they are.", lambda c: c.bytes),
    ("batches", "Batches of the source whose copy the destination acknowledged.", lambda c: c.batches),
    ("appended_batches", "Batches that were appended for them: fewer, as small ones are merged.", lambda c: c.appends),
    ("filled_offsets", "Offsets without a visible record, taken by markers at the destination.", lambda c: c.fills),
    ("lost_offsets", "Offsets that retention removed at the source before they were copied.", lambda c: c.lost),
    (
        "reopenings",
        "Partitions opened anew: after a refusal, a broken connection, a pause, an hour with nothing to copy.",
        lambda c: c.reopenings,
    ),
)

_TASK_COUNTERS: Final[tuple[tuple[str, str, Callable[[TaskStatus], int]], ...]] = (
    ("runs", "Runs of the task.", lambda t: t.runs),
    ("failures", "Runs of the task that could not do all they had to.", lambda t: t.failures),
    ("changes", "Changes that the task made at the destination.", lambda t: t.changes),
)

_PARTITION_GAUGES: Final[tuple[tuple[str, str, Callable[[PartitionStatus], float | None]], ...]] = (
    ("lag_records", "Offsets that the source holds and the mirror does not.", lambda p: p.lag),
    ("lag_seconds", "Age of the oldest record not yet copied, 0 when all is.", lambda p: _seconds(p.lag_ms)),
    ("log_end_offset", "The mirror's log end: everything below is copied.", lambda p: p.log_end),
    ("source_end_offset", "The source's last stable offset, when it was last asked.", lambda p: p.source_end),
)


def _seconds(ms: int | None) -> float | None:
    return None if ms is None else ms / 1000


class LinkCollector(Collector):
    """The families of one link. `per_partition`: those of each partition instead of those of link and mirrors."""

    def __init__(self, readings: Readings, *, per_partition: bool = False) -> None:
        self._readings = readings
        self._link = readings.status.link
        self._per_partition = per_partition

    def collect(self) -> Iterator[Metric]:
        if self._per_partition:
            yield from self._of_partitions()
            return
        yield InfoMetricFamily(
            "kmirror_build",
            "Versions of this runner.",
            value={"version": __version__, "python_version": platform.python_version()},
        )
        yield from self._of_link()
        yield from self._of_clusters()
        yield from self._of_mirrors()
        yield from self._of_counters()
        yield from self._of_tasks()
        yield from self._of_processes()

    def _gauge(self, name: str, told: str, label: str, values: Iterable[tuple[str, float]]) -> Metric:
        family = GaugeMetricFamily(f"kmirror_{name}", told, labels=["link", label])
        for value, number in values:
            family.add_metric([self._link, value], number)
        return family

    def _single(self, name: str, told: str, value: float) -> Metric:
        family = GaugeMetricFamily(f"kmirror_{name}", told, labels=["link"])
        family.add_metric([self._link], value)
        return family

    def _of_link(self) -> Iterator[Metric]:
        read, status = self._readings, self._readings.status
        mirrors = Counter(mirror.state for mirror in status.mirrors.values())
        partitions = Counter(p.state for mirror in status.mirrors.values() for p in mirror.partitions)
        told = "State of the link: 1 for the one it is in."
        yield self._gauge("link_state", told, "state", ((s, s is status.state) for s in LinkState))
        told = "Mirror topics of the link by state."
        yield self._gauge("link_mirrors", told, "state", ((s, mirrors[s]) for s in MirrorState))
        told = "Partitions of the mirror topics by what the runner does with them."
        yield self._gauge("link_partitions", told, "state", ((s, partitions[s]) for s in PartitionState))
        yield self._single("link_start_timestamp_seconds", "When this runner began.", status.started_ms / 1000)
        told = "When the runner last looked at itself: within four seconds, unless it is stuck."
        yield self._single("link_status_timestamp_seconds", told, status.updated_ms / 1000)
        told = "Bytes fetched, or asked for, and not yet acknowledged."
        yield self._single("fetch_buffer_used_bytes", told, read.buffer_held)
        yield self._single("fetch_buffer_limit_bytes", "fetch.buffer.bytes of the link.", read.buffer_limit)

    def _of_clusters(self) -> Iterator[Metric]:
        read = self._readings
        told = "Whether the cluster answers: 1 or 0."
        yield self._gauge("cluster_reachable", told, "cluster", ((c, c not in read.unreachable) for c in _CLUSTERS))
        for name, told in (
            ("opened", "Connections made to brokers of the cluster."),
            ("failed", "Attempts to connect that came to nothing."),
            ("lost", "Connections that broke, but not while idle, counted when they would be used again."),
        ):
            family = CounterMetricFamily(f"kmirror_connections_{name}", told, labels=["link", "cluster"])
            for cluster, counters in list(read.counters.connections.items()):
                family.add_metric([self._link, cluster], getattr(counters, name))
            yield family
        told = "How long requests had to wait, by what had them wait; of several brokers the sum."
        waits = CounterMetricFamily("kmirror_throttled_seconds", told, labels=["link", "by"])
        for by, seconds in read.counters.throttled_s().items():
            waits.add_metric([self._link, by], seconds)
        yield waits

    def _of_mirrors(self) -> Iterator[Metric]:
        status = self._readings.status
        family = GaugeMetricFamily(
            "kmirror_mirror_state", "State of the mirror: 1 for the one it is in.", labels=["link", "topic", "state"]
        )
        for topic, mirror in status.mirrors.items():
            for state in MirrorState:
                family.add_metric([self._link, topic, state], state is mirror.state)
        yield family
        yield self._topics("mirror_partitions", "Partitions of the mirror topic.", lambda m: len(m.partitions))
        for name, told, value in _MIRROR_GAUGES:
            yield self._topics(f"mirror_{name}", told, lambda m, v=value: None if _is_over(m) else v(m))  # type: ignore[misc]

    def _topics(self, name: str, told: str, value: Callable[[MirrorStatus], float | None]) -> Metric:
        known = ((topic, value(mirror)) for topic, mirror in self._readings.status.mirrors.items())
        return self._gauge(name, told, "topic", ((topic, number) for topic, number in known if number is not None))

    def _of_counters(self) -> Iterator[Metric]:
        # Copies: the event loop goes on meanwhile, and may add a topic or a kind of refusal.
        mirrors = list(self._readings.counters.mirrors.items())
        for name, told, value in _MIRROR_COUNTERS:
            family = CounterMetricFamily(f"kmirror_mirror_{name}", told, labels=["link", "topic"])
            for topic, counters in mirrors:
                family.add_metric([self._link, topic], value(counters))
            yield family
        told = "Batches that the destination did not take, by Kafka's name of the error."
        family = CounterMetricFamily("kmirror_mirror_refusals", told, labels=["link", "topic", "error"])
        for topic, counters in mirrors:
            for error, count in list(counters.refusals.items()):
                family.add_metric([self._link, topic, error], count)
        yield family
        told = "Requests for a partition of the mirror that failed and are made again."
        family = CounterMetricFamily("kmirror_mirror_retries", told, labels=["link", "topic", "cluster"])
        for topic, counters in mirrors:
            for cluster in _CLUSTERS:
                family.add_metric([self._link, topic, cluster], counters.retries[cluster])
        yield family

    def _of_tasks(self) -> Iterator[Metric]:
        tasks = self._readings.status.tasks
        told = "State of the task: 1 for the one it is in."
        family = GaugeMetricFamily("kmirror_task_state", told, labels=["link", "task", "state"])
        for name, task in tasks.items():
            for state in TaskState:
                family.add_metric([self._link, name, state], state is task.state)
        yield family
        for metric, counted, value in _TASK_COUNTERS:
            counters = CounterMetricFamily(f"kmirror_task_{metric}", counted, labels=["link", "task"])
            for name, task in tasks.items():
                counters.add_metric([self._link, name], value(task))
            yield counters
        told = "When a run of the task last did all it had to."
        known = ((name, _seconds(task.last_success_ms)) for name, task in tasks.items())
        values = ((name, time) for name, time in known if time is not None)
        yield self._gauge("task_last_success_timestamp_seconds", told, "task", values)

    def _of_processes(self) -> Iterator[Metric]:
        """Of the runner and its workers together; when it began, and how many files it may open, of the runner."""
        workers = [ProcessCollector(pid=partial(int, pid), registry=None) for pid in self._readings.other_pids]
        told = [{f.name: f for f in worker.collect()} for worker in workers]  # nothing of one that is gone
        for family in ProcessCollector(registry=None).collect():
            own = family.samples[0]
            others = [] if family.name in _OF_THE_RUNNER else [found[family.name] for found in told if found]
            family.samples = [own._replace(value=own.value + sum(each.samples[0].value for each in others))]
            yield family

    def _of_partitions(self) -> Iterator[Metric]:
        for name, told, value in _PARTITION_GAUGES:
            family = GaugeMetricFamily(f"kmirror_mirror_partition_{name}", told, labels=["link", "topic", "partition"])
            for topic, mirror in self._readings.status.mirrors.items():
                for partition in () if _is_over(mirror) else mirror.partitions:
                    number = value(partition)
                    if number is not None:
                        family.add_metric([self._link, topic, str(partition.partition)], number)
            yield family


_CLUSTERS: Final = ("source", "destination")
_OF_THE_RUNNER: Final = frozenset({"process_start_time_seconds", "process_max_fds"})


def _is_over(mirror: MirrorStatus) -> bool:
    return mirror.state is MirrorState.STOPPED


def exposition(readings: Readings, accept: str, *, per_partition: bool = False) -> tuple[bytes, str]:
    """The text for a client that accepts `accept` (a header of HTTP), and its content type."""
    encode, content_type = choose_encoder(accept)
    return encode(LinkCollector(readings, per_partition=per_partition)), content_type
