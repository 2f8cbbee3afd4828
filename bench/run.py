"""Runs a plan: each load is filled once, and copied by each contender in each round, in turn another one first."""

import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from bench.contenders import CONTENDERS, Job
from bench.fill import Filled, fill, traffic
from bench.latency import FLOOR, PARTITIONS, Latency, measure_latency
from bench.latency import TOPIC as PACE
from bench.loads import Load
from bench.oracle import check_copy
from bench.payload import payloads_of
from bench.plan import Plan
from bench.profiling import top_functions
from bench.relay import Limit, measure_limit
from bench.stage import Stage
from bench.throughput import Copied, measure

_WARM: Final = (
    Load("warm", "not measured", 300_000, 5 << 10),
    Load("warm-large", "not measured", 1_000_000, 128 << 10),
)
_WARMERS: Final = ("loop", "kmirror", "loop", "kmirror")


@dataclass(slots=True)
class Results:
    plan: Plan
    filled: dict[str, Filled] = field(default_factory=dict)
    limits: dict[str, Limit] = field(default_factory=dict)
    copies: list[Copied] = field(default_factory=list)
    latencies: list[Latency] = field(default_factory=list)


def run(plan: Plan, stage: Stage) -> Results:
    results = Results(plan)
    warm(stage, large=not plan.short)
    for load in plan.loads:
        filled = results.filled[load.name] = fill(stage, load, payloads_of(stage.directory, load.record_bytes))
        results.limits[load.name] = measure_limit(stage, load)
        for number in range(plan.rounds):
            names = plan.contenders_of(load)
            first = number % len(names)
            for name in names[first:] + names[:first]:
                held = replace(load, records=filled.records)
                results.copies.append(_copy(plan, stage, held, name, check=number == 0))
        stage.clear()
    if plan.latency:
        for _ in range(plan.rounds):
            results.latencies += _latencies(plan, stage)
    return results


def warm(stage: Stage, *, large: bool = True) -> None:
    """New JVMs are slow: without this the first contender would pay for what the others find compiled.

    What a broker does for an idempotent producer it does for kmirror alone, so both are needed. Whoever takes a second
    and a half for a load would pay most: so both sizes are copied, the large one unless it is too much for a short run.
    """
    for load in _WARM if large else _WARM[:1]:
        fill(stage, load, payloads_of(stage.directory, load.record_bytes))
        for name in _WARMERS:
            stage.clear(keep=load.topic)
            measure(name, CONTENDERS[name], _job(stage, load.topic, load), load)
        stage.clear()


def _copy(plan: Plan, stage: Stage, load: Load, name: str, *, check: bool) -> Copied:
    if load.traffic:  # by now the source holds what went on
        stage.clear()
        fill(stage, load, payloads_of(stage.directory, load.record_bytes))
    else:
        stage.clear(keep=load.topic)
    job = _job(stage, load.topic, load, profile=plan.profile if name == "kmirror" else None)
    checked = name == "kmirror" and check and not plan.profile
    copied = measure(
        name,
        CONTENDERS[name],
        job,
        load,
        check=(lambda: check_copy(stage, load.topic, load.records)) if checked else None,
        traffic=traffic(stage, load, payloads_of(stage.directory, load.record_bytes)),
    )
    print(
        f"{load.name}: {name}: {copied.rate:.0f} MB/s, {copied.per_cpu:.0f} MB a CPU-second"
        f"{', equal to its source' if checked else ''}",
        flush=True,
    )
    if job.profile:
        print(top_functions(job.profile, job.directory / "profile"), flush=True)
    return copied


def _latencies(plan: Plan, stage: Stage) -> list[Latency]:
    measured = []
    warm_s, seconds = (2.0, 5.0) if plan.short else (10.0, 30.0)
    contenders = {"none": None, FLOOR: CONTENDERS["loop"]}
    contenders |= {name: CONTENDERS[name] for name in plan.contenders if name != "loop"}
    for name, contender in contenders.items():
        if name == "mm2" and plan.short:
            continue
        stage.clear()
        job = Job(stage, PACE, PARTITIONS, "none", _directory(stage), eager=True)
        try:
            measured.append(measure_latency(name, contender, job, warm_s=warm_s, seconds=seconds))
        except TimeoutError as e:  # falling behind is a result too, and no reason to lose the others
            print(f"latency: {name}: not measured: {e}", flush=True)
            continue
        print(f"latency: {name}: p50 {measured[-1].p50_ms:.1f} ms, p99 {measured[-1].p99_ms:.1f} ms", flush=True)
    stage.clear()
    return measured


def _job(stage: Stage, topic: str, load: Load, profile: str | None = None) -> Job:
    return Job(stage, topic, load.partitions, load.compression, _directory(stage), profile=profile)


def _directory(stage: Stage) -> Path:
    return Path(tempfile.mkdtemp(prefix="job-", dir=stage.directory))
