"""What a runner tells, without a runner: one mirror of which everything is known."""

from prometheus_client.openmetrics.parser import text_string_to_metric_families

from kmirror.engine.counters import RunCounters
from kmirror.model.states import MirrorState
from kmirror.model.status import LinkState, LinkStatus, MirrorStatus, PartitionState, PartitionStatus
from kmirror.model.tasks import TaskState, TaskStatus
from kmirror.process.metrics import exposition
from kmirror.process.sights import Readings

OPENMETRICS = "application/openmetrics-text; version=1.0.0"


def full_readings() -> Readings:
    part = PartitionStatus(0, PartitionState.COPYING, 90, 100, 1500, 5000)
    mirrors = {"t": MirrorStatus("t", MirrorState.ACTIVE, (part,))}
    tasks = {"AclSync": TaskStatus("AclSync", TaskState.ACTIVE, last_success_ms=8000)}
    status = LinkStatus("east-west", 7, 1000, 9000, LinkState.ACTIVE, mirrors=mirrors, tasks=tasks)
    counters = RunCounters()
    counters.mirror("t").refusals["NotEnoughReplicas"] += 1
    for side in ("source", "destination"):
        counters.cluster(side)
    return Readings(status, counters, frozenset(), 0, 1)


def labels_told() -> dict[str, set[str]]:
    """The labels of each sample, by its name."""
    texts = [exposition(full_readings(), OPENMETRICS, per_partition=p)[0].decode() for p in (False, True)]
    samples = [s for text in texts for family in text_string_to_metric_families(text) for s in family.samples]
    return {s.name: set(s.labels) for s in samples}


def names_told() -> set[str]:
    """The names of kmirror's own."""
    return {name for name in labels_told() if name.startswith("kmirror_")}
