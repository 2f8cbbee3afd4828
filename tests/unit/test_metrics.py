"""What a scrape tells: every family once, in both formats, and no more series than topics need."""

import subprocess
from dataclasses import replace

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from kmirror.engine.counters import MirrorCounters, RunCounters
from kmirror.model.states import MirrorState
from kmirror.model.status import LinkState, LinkStatus, MirrorStatus, PartitionState, PartitionStatus
from kmirror.model.tasks import TaskState, TaskStatus
from kmirror.process.metrics import exposition
from kmirror.process.sights import Readings
from kmirror.wire.cluster import ConnectionCounters

OPENMETRICS = "application/openmetrics-text; version=1.0.0"


def part(number, *, end=90, source=100, lag_ms=1500, fetched_ms=5000):
    return PartitionStatus(number, PartitionState.COPYING, end, source, lag_ms, fetched_ms)


def readings(mirrors=None, *, counters=None, unreachable=()):
    tasks = {"AclSync": TaskStatus("AclSync", TaskState.IN_ERROR, last_success_ms=8000, runs=3, failures=2, changes=1)}
    status = LinkStatus("east-west", 7, 1000, 9000, LinkState.ACTIVE, mirrors=mirrors or {}, tasks=tasks)
    connections = {"source": ConnectionCounters(3, 1, 2), "destination": ConnectionCounters()}
    return Readings(status, RunCounters(counters or {}, connections), frozenset(unreachable), 12, 64)


def samples(read, accept=OPENMETRICS, **options):
    """{(name, labels without the link): value}; no sample twice."""
    body, content_type = exposition(read, accept, **options)
    parse = parse_openmetrics if "openmetrics" in content_type else parse_text
    found = {}
    for family in parse(body.decode()):
        for sample in family.samples:
            labels = dict(sample.labels)
            if sample.name.startswith("kmirror_") and sample.name != "kmirror_build_info":
                assert labels.pop("link") == "east-west"
            topic = [labels.pop("topic")] if "topic" in labels else []
            key = (sample.name.removeprefix("kmirror_"), *topic, *labels.values())
            assert key not in found
            found[key] = sample.value
    return found


@pytest.mark.parametrize("accept", [OPENMETRICS, "text/plain", ""])
def test_both_formats_tell_lag_state_and_counters(accept):
    counters = MirrorCounters(batches=2, records=20, bytes=200, fills=3, lost=4, reopenings=5)
    counters.refusals["NotLeaderForPartition"] += 6
    counters.retries["source"] += 7
    mirror = MirrorStatus("orders", MirrorState.ACTIVE, (part(0), part(1, end=40, lag_ms=2500, fetched_ms=4000)))
    found = samples(readings({"orders": mirror}, counters={"orders": counters}, unreachable={"source"}), accept)

    expected = {
        ("mirror_lag_records", "orders"): 70,
        ("mirror_max_partition_lag_records", "orders"): 60,
        ("mirror_lag_seconds", "orders"): 2.5,
        ("mirror_source_seen_timestamp_seconds", "orders"): 4,
        ("mirror_partitions", "orders"): 2,
        ("mirror_state", "orders", "ACTIVE"): 1,
        ("mirror_state", "orders", "FAILED"): 0,
        ("mirror_records_total", "orders"): 20,
        ("mirror_bytes_total", "orders"): 200,
        ("mirror_batches_total", "orders"): 2,
        ("mirror_filled_offsets_total", "orders"): 3,
        ("mirror_lost_offsets_total", "orders"): 4,
        ("mirror_reopenings_total", "orders"): 5,
        ("mirror_refusals_total", "orders", "NotLeaderForPartition"): 6,
        ("mirror_retries_total", "orders", "source"): 7,
        ("mirror_retries_total", "orders", "destination"): 0,
        ("link_state", "ACTIVE"): 1,
        ("link_state", "UNAVAILABLE"): 0,
        ("link_mirrors", "ACTIVE"): 1,
        ("link_mirrors", "FAILED"): 0,
        ("link_partitions", "COPYING"): 2,
        ("link_start_timestamp_seconds",): 1,
        ("link_status_timestamp_seconds",): 9,
        ("cluster_reachable", "source"): 0,
        ("cluster_reachable", "destination"): 1,
        ("connections_opened_total", "source"): 3,
        ("connections_failed_total", "source"): 1,
        ("connections_lost_total", "source"): 2,
        ("task_state", "IN_ERROR", "AclSync"): 1,
        ("task_state", "ACTIVE", "AclSync"): 0,
        ("task_runs_total", "AclSync"): 3,
        ("task_failures_total", "AclSync"): 2,
        ("task_changes_total", "AclSync"): 1,
        ("task_last_success_timestamp_seconds", "AclSync"): 8,
        ("fetch_buffer_used_bytes",): 12,
        ("fetch_buffer_limit_bytes",): 64,
    }
    assert {key: found.get(key) for key in expected} == expected
    assert any(name == "build_info" for name, *_ in found)
    assert any(name == "process_resident_memory_bytes" for name, *_ in found)


def test_the_processes_of_one_link_are_told_as_one():
    """A child of ours stands for a worker; one that is gone is left out."""
    with subprocess.Popen(["sleep", "60"]) as child:
        alone, both = (
            samples(replace(readings({}), other_pids=pids))
            for pids in ((), (child.pid, 2**22 + 1))  # above every pid
        )
        child.kill()
    assert both["process_resident_memory_bytes",] > alone["process_resident_memory_bytes",]
    assert both["process_open_fds",] > alone["process_open_fds",]
    for own in ("process_start_time_seconds", "process_max_fds"):
        assert both[own,] == alone[own,]


def test_what_is_not_known_is_left_out():
    """Half a lag would look like good news, and so would a nought."""
    unknown = PartitionStatus(1, PartitionState.OPENING)
    found = samples(readings({"orders": MirrorStatus("orders", MirrorState.ACTIVE, (part(0), unknown))}))
    assert ("mirror_lag_records", "orders") not in found
    assert ("mirror_source_seen_timestamp_seconds", "orders") not in found
    assert found["mirror_lag_seconds", "orders"] == 1.5


def test_a_mirror_that_is_over_has_no_lag():
    found = samples(readings({"orders": MirrorStatus("orders", MirrorState.STOPPED, (part(0),))}))
    assert ("mirror_lag_records", "orders") not in found
    assert found["mirror_state", "orders", "STOPPED"] == 1


def test_partitions_are_told_apart_from_the_rest_only():
    many = MirrorStatus("orders", MirrorState.ACTIVE, tuple(part(n) for n in range(500)))
    few = MirrorStatus("orders", MirrorState.ACTIVE, (part(0),))
    assert samples(readings({"orders": many})).keys() == samples(readings({"orders": few})).keys()

    found = samples(readings({"orders": many}), per_partition=True)
    assert len(found) == 4 * 500
    assert found["mirror_partition_lag_records", "orders", "499"] == 10
    assert found["mirror_partition_lag_seconds", "orders", "7"] == 1.5
    assert found["mirror_partition_log_end_offset", "orders", "0"] == 90
    assert found["mirror_partition_source_end_offset", "orders", "0"] == 100
