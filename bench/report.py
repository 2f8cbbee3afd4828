"""The results as JSON: every run, the medians and ratios, and what they were measured on."""

import json
import os
import platform
import statistics
import subprocess
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import confluent_kafka

from bench.latency import FLOOR, Latency
from bench.plan import Plan
from bench.run import Results
from bench.stage import Stage
from bench.throughput import Copied
from kmirror import __version__

SCHEMA: Final = 1
_HERE: Final = Path(__file__).resolve().parent


def place(plan: Plan) -> Path:
    return _HERE / "results" / f"{datetime.now(UTC):%Y-%m-%d}-{plan.name}.json"


def facts(stage: Stage) -> dict[str, Any]:
    """Versions and the machine; nothing that tells whose machine it is."""
    return {
        "kmirror": __version__,
        "revision": _revision(),
        "kafka": stage.runtime.version,
        "java": _java(stage),
        "python": platform.python_version(),
        "confluent_kafka": confluent_kafka.__version__,
        "librdkafka": confluent_kafka.libversion()[0],
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
    }


def _processor() -> str:
    """Its name and, on Linux, the size of its cache: a mirror between two busy brokers gains more by that than they."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.processor()
    told = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return ", ".join(filter(None, (told.get("model name"), told.get("cache size"))))


def document(results: Results, machine: dict[str, Any]) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "load_set": results.plan.name,
        "rounds": results.plan.rounds,
        "measured_on": machine,
        "loads": [_load(results, load.name) for load in results.plan.loads],
        "latency_at_1000_records_per_s": [asdict(latency) for latency in results.latencies],
        "latency_against_floor": latency_ratios(results.latencies),
        "runs": [asdict(copied) for copied in results.copies],
    }


def write_json(results: Results, machine: dict[str, Any], target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(_rounded(document(results, machine)), indent=2) + "\n", "utf-8")


def medians(copies: Sequence[Copied]) -> dict[str, float]:
    """Of all rounds of one contender with one load."""
    measured = [
        {
            "megabytes_per_s": copied.rate,
            "megabytes_per_cpu_s": copied.per_cpu,
            "megabytes_per_broker_cpu_s": copied.per_broker_cpu,
            "source_broker_cpu_s": copied.cpu.source,
            "destination_broker_cpu_s": copied.cpu.destination,
            "peak_rss_megabytes": copied.peak_rss_megabytes,
            "startup_s": copied.startup_s,
            "start_to_end_s": copied.startup_s + copied.window_s,
            "destination_batch_bytes": copied.destination_batch_bytes,
            "cores_used_by_others": copied.cpu.others / copied.window_s,
        }
        for copied in copies
    ]
    return {key: statistics.median(one[key] for one in measured) for key in measured[0]}


def by_contender(results: Results, load: str) -> dict[str, dict[str, float]]:
    return {
        name: medians(copies)
        for name in results.plan.contenders
        if (copies := [c for c in results.copies if c.contender == name and c.load == load])
    }


def ratios(contenders: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    """kmirror against each other one: more than 1 is better, in all of them."""
    ours = contenders.get("kmirror")
    if ours is None:
        return {}
    return {
        name: {
            "megabytes_per_s": ours["megabytes_per_s"] / theirs["megabytes_per_s"],
            "megabytes_per_cpu_s": ours["megabytes_per_cpu_s"] / theirs["megabytes_per_cpu_s"],
            "megabytes_per_broker_cpu_s": ours["megabytes_per_broker_cpu_s"] / theirs["megabytes_per_broker_cpu_s"],
            "peak_rss": theirs["peak_rss_megabytes"] / ours["peak_rss_megabytes"],
        }
        for name, theirs in contenders.items()
        if name != "kmirror"
    }


def latency_medians(latencies: Sequence[Latency]) -> dict[str, dict[str, float]]:
    """Of all rounds of each contender."""
    return {
        name: {
            key: statistics.median(getattr(one, key) for one in latencies if one.contender == name)
            for key in ("p50_ms", "p99_ms", "max_ms", "cpu_percent")
        }
        for name in dict.fromkeys(latency.contender for latency in latencies)
    }


def latency_ratios(latencies: Sequence[Latency]) -> dict[str, dict[str, float]]:
    """Each mirror against the floor, round by round, and the median of that: less is better, and 1 is the least."""
    floor = [one for one in latencies if one.contender == FLOOR]
    found = {}
    for name in dict.fromkeys(latency.contender for latency in latencies):
        pairs = list(zip((one for one in latencies if one.contender == name), floor, strict=False))
        if name not in {"none", FLOOR} and pairs:
            found[name] = {
                key: statistics.median(getattr(one, key) / getattr(least, key) for one, least in pairs)
                for key in ("p50_ms", "p99_ms")
            }
    return found


def _load(results: Results, name: str) -> dict[str, Any]:
    load = next(load for load in results.plan.loads if load.name == name)
    filled = results.filled[name]
    contenders = by_contender(results, name)
    return {
        "name": name,
        "meaning": load.meaning,
        "partitions": load.partitions,
        "compression": load.compression,
        "records": filled.records,
        "offsets_without_a_record": filled.gaps,
        "record_bytes": load.record_bytes,
        "traffic_records_per_s": load.traffic,
        "source_log_bytes": filled.log_bytes,
        "source_batches": filled.batches,
        "source_batch_bytes": filled.batch_bytes,
        "medians": contenders,
        "limit": asdict(results.limits[name]),
        "kmirror_against": ratios(contenders),
    }


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    return round(value, 3) if isinstance(value, float) else value


def _revision() -> str:
    """The commit that was measured; a `+` says that the sources were changed since."""
    try:
        head = _git("rev-parse", "--short", "HEAD")
        changed = _git("status", "--porcelain", "--", "src", "bench")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head + ("+" if changed else "")


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=_HERE.parent, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def _java(stage: Stage) -> str:
    done = subprocess.run([stage.runtime.java, "-version"], capture_output=True, text=True, check=False)
    banner = done.stderr.split('"')
    return banner[1] if len(banner) > 1 else "unknown"
