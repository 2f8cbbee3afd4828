"""The results for people."""

import statistics
from collections.abc import Sequence
from typing import Final

from bench.latency import FLOOR, PARTITIONS
from bench.report import by_contender, latency_medians, latency_ratios, ratios
from bench.run import Results

_NAMES: Final = {
    "mm2": "MirrorMaker 2",
    "loop": "record loop",
    "kmirror": "kmirror",
    "none": "no mirror: source itself",
    FLOOR: "floor: record by record",
}
_COLUMNS: Final = ("", "MB/s", "MB/CPU-s", "MB/CPU-s of brokers", "peak RSS MB", "start-up s", "batch KB")


def print_tables(results: Results) -> None:
    for load in results.plan.loads:
        filled = results.filled[load.name]
        print(
            f"\n{load.meaning}: {load.record_megabytes:.0f} MB of records, {load.partitions} partition(s),"
            f" {filled.batches} batches of {filled.batch_bytes / 1024:.1f} KB"
        )
        contenders = by_contender(results, load.name)
        rows = [_COLUMNS]
        for name, of in contenders.items():
            rows.append(
                (
                    _NAMES[name],
                    f"{of['megabytes_per_s']:.0f}",
                    f"{of['megabytes_per_cpu_s']:.0f}",
                    f"{of['megabytes_per_broker_cpu_s']:.0f}",
                    f"{of['peak_rss_megabytes']:.0f}",
                    f"{of['startup_s']:.1f}",
                    f"{of['destination_batch_bytes'] / 1024:.1f}",
                )
            )
        limit = results.limits[load.name]
        per_cpu = f"{limit.megabytes_per_cpu_s:.0f}"
        rows.append(("socket to socket", f"{limit.megabytes_per_s:.0f}", per_cpu, "", "", "", ""))
        for name, ratio in ratios(contenders).items():
            keys = ("megabytes_per_s", "megabytes_per_cpu_s", "megabytes_per_broker_cpu_s", "peak_rss")
            rows.append((f"kmirror : {_NAMES[name]}", *(f"{ratio[key]:.1f} x" for key in keys), "", ""))
        _print(rows)
        if load.traffic:
            times = (f"{_NAMES[name]} {of['start_to_end_s']:.1f} s" for name, of in contenders.items())
            print(f"From the start of the process until nothing was behind: {', '.join(times)}")
    _print_latencies(results)
    others = [copied.cpu.others / copied.window_s for copied in results.copies]
    if others:
        print(f"\nOther processes used {statistics.median(others):.2f} cores meanwhile (at most {max(others):.2f}).")


def _print_latencies(results: Results) -> None:
    if not results.latencies:
        return
    print(f"\nLatency at 1,000 records/s over {PARTITIONS} partitions, ms")
    rows: list[Sequence[str]] = [("", "p50", "p99", "max", "CPU %", "p50 : floor", "p99 : floor")]
    against_floor = latency_ratios(results.latencies)
    for name, of in latency_medians(results.latencies).items():
        ratio = against_floor.get(name)
        rows.append(
            (
                _NAMES[name],
                *(f"{of[key]:.1f}" for key in ("p50_ms", "p99_ms", "max_ms")),
                f"{of['cpu_percent']:.1f}" if name != "none" else "",
                *(f"{ratio[key]:.1f} x" if ratio else "" for key in ("p50_ms", "p99_ms")),
            )
        )
    _print(rows)


def _print(rows: Sequence[Sequence[str]]) -> None:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        print("  ".join(cells).rstrip())
