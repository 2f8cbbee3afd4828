"""`python -m bench.workers`: does a link go faster on more processes, and what bounds it? The same loads, in turn.

The mirror and both brokers share this machine's cores. From what a MB costs each of them in CPU follows how fast it can
go at most: one process has one core, and all together have what there is. `--core-part` gives the mirror that part of a
core for each of its workers: so the brokers have time to spare, as on a machine of many cores. Figures are medians.
"""

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

from bench.contenders import CONTENDERS, Job
from bench.contenders.job import Command
from bench.fill import fill
from bench.loads import FULL, Load
from bench.options import some
from bench.payload import payloads_of
from bench.stage import Stage, stage
from bench.throughput import Copied, measure

_SOURCES: Final = Path(__file__).resolve().parent.parent / "src"
_ANEW: Final = Load(
    "append-time",
    "log append time, 128 KB batches of records of 100 bytes",
    2_000_000,
    128 << 10,
    record_bytes=100,
    append_time=True,
)
_PERIOD_US: Final = 10_000
LOADS: Final = {load.name: load for load in (*FULL, _ANEW) if not load.traffic}


@dataclass(frozen=True, slots=True)
class Figures:
    """Of one load with so many workers: MB/s, and milliseconds of CPU for each MB."""

    workers: int
    core_part: float
    rate: float
    mirror: float
    source: float
    destination: float
    busy: float
    """Part of all cores that was used, by whomever."""
    rss_megabytes: float

    @property
    def brokers(self) -> float:
        return self.source + self.destination

    def bound(self, cores: int) -> float:
        """MB/s at most: each worker has its part of a core, and all share what there is."""
        return min(1000 * self.workers * self.core_part / self.mirror, 1000 * cores / (self.mirror + self.brokers))


def figures(workers: int, core_part: float, copies: Sequence[Copied], cores: int) -> Figures:
    def median(*values: float) -> float:
        return statistics.median(values)

    def milliseconds(side: str) -> float:
        return median(*(1000 * getattr(copied.cpu, side) / copied.megabytes for copied in copies))

    return Figures(
        workers,
        core_part,
        median(*(copied.rate for copied in copies)),
        milliseconds("mirror"),
        milliseconds("source"),
        milliseconds("destination"),
        median(*(copied.cpu.machine / copied.window_s / cores for copied in copies)),
        median(*(copied.peak_rss_megabytes for copied in copies)),
    )


def lines(name: str, found: Sequence[Figures], cores: int) -> Iterator[str]:
    """The gain is against the first of `found`."""
    yield f"{name:16}{'MB/s':>8}{'gain':>7}{'at most':>9}{'mirror':>9}{'source':>9}{'dest.':>9}{'busy':>7}{'RSS MB':>8}"
    for one in found:
        gain = one.rate / found[0].rate
        costs = f"{one.mirror:9.2f}{one.source:9.2f}{one.destination:9.2f}"
        rates = f"{one.rate:8.0f}{gain:7.2f}{one.bound(cores):9.0f}"
        yield f"{f'{one.workers} workers':16}{rates}{costs}{100 * one.busy:6.0f}%{one.rss_megabytes:8.0f}"


def main() -> int:
    options = _options()
    directory = Path(tempfile.mkdtemp(prefix="kmirror-workers-"))
    found: dict[str, list[Figures]] = {}
    cores = os.cpu_count() or 1
    try:
        sources = _plain(directory) if options.plain_python else None
        with stage(directory) as clusters:
            _copy(clusters, _ANEW, 1, sources)  # brokers that are cold tell nothing
            for name in options.load:
                load = LOADS[name]
                for part in options.core_part:
                    copies: dict[int, list[Copied]] = {workers: [] for workers in options.workers}
                    for _ in range(options.rounds):
                        for workers, done in copies.items():
                            done.append(_copy(clusters, load, workers, sources, core_part=part))
                    of_part = [figures(workers, part, done, cores) for workers, done in copies.items()]
                    print("\n".join(lines(f"{name}, {part:g}", of_part, cores)), flush=True)
                    found.setdefault(name, []).extend(of_part)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    if options.json:
        rows = {name: [asdict(one) for one in each] for name, each in found.items()}
        options.json.write_text(
            json.dumps({"cores": cores, "plain_python": options.plain_python, "loads": rows}, indent=1)
        )
    return 0


def _copy(clusters: Stage, load: Load, workers: int, sources: Path | None, *, core_part: float = 1.0) -> Copied:
    clusters.clear(keep="bench-")
    if not (clusters.directory / load.topic).exists():
        fill(clusters, load, payloads_of(clusters.directory, load.record_bytes))
        (clusters.directory / load.topic).touch()
    directory = Path(tempfile.mkdtemp(prefix="job-", dir=clusters.directory))
    job = Job(clusters, load.topic, load.partitions, load.compression, directory, sources=sources, workers=workers)
    with _limited(workers * core_part if core_part < 1 else None) as prefix:

        def contender(job: Job) -> Command:
            command = CONTENDERS["kmirror"](job)
            return replace(command, arguments=[*prefix, *command.arguments])

        return measure("kmirror", contender, job, load)


@contextmanager
def _limited(cores: float | None) -> Iterator[list[str]]:
    """What has a command and all that it starts use so much of the CPU together (control groups; needs root)."""
    if cores is None:
        yield []
        return
    older = Path("/sys/fs/cgroup/cpu")
    group = (older if older.exists() else Path("/sys/fs/cgroup")) / f"kmirror-bench-{os.getpid()}"
    group.mkdir()
    try:
        quota_us = round(cores * _PERIOD_US)
        if older.exists():
            (group / "cpu.cfs_period_us").write_text(str(_PERIOD_US))
            (group / "cpu.cfs_quota_us").write_text(str(quota_us))
        else:
            (group / "cpu.max").write_text(f"{quota_us} {_PERIOD_US}")
        yield ["sh", "-c", f'echo $$ > {group}/cgroup.procs; exec "$@"', "sh"]
    finally:
        group.rmdir()


def _plain(directory: Path) -> Path:
    """These sources without the compiled part."""
    shutil.copytree(_SOURCES, directory / "src", ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    return directory / "src"


def _numbers(text: str) -> list[int]:
    return [int(word) for word in text.split(",")]


def _parts(text: str) -> list[float]:
    return [float(word) for word in text.split(",")]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.workers", description=__doc__)
    parser.add_argument("--workers", type=_numbers, default=[1, 2], metavar="N,N..")
    parser.add_argument("--load", type=some([*LOADS]), default=["small-100", "append-time"], metavar=",".join(LOADS))
    parser.add_argument("--core-part", type=_parts, default=[1.0], metavar="P,P..", help="1: as much as it gets")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--plain-python", action="store_true", help="without the compiled part")
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
