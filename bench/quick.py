"""`python -m bench.quick`: is this tree faster or slower than a commit? Both copy the same logs, in turn, for minutes.

Each pair of runs gives a ratio, so that what disturbs both disturbs nothing. A difference is told only if the mean of
the ratios is further from 1 than by chance, of which one in twenty is not.
"""

import argparse
import importlib.util
import math
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from bench.contenders import CONTENDERS, Job
from bench.fill import fill
from bench.loads import FULL, Load
from bench.options import some
from bench.payload import payloads_of
from bench.run import warm
from bench.stage import Stage, stage
from bench.throughput import Copied, measure

_ROOT: Final = Path(__file__).resolve().parent.parent
_LEAST_PAIRS: Final = 3
_CERTAIN: Final = (12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26)  # Student's t, 95 %, of 1 degree and more
_FIGURES: Final = {
    "MB/s": lambda copied: copied.rate,
    "MB/CPU-s": lambda copied: copied.per_cpu,
    "MB/CPU-s of brokers": lambda copied: copied.per_broker_cpu,
}


@dataclass(slots=True)
class Pairs:
    """What both trees did with one load."""

    load: Load
    ours: list[Copied] = field(default_factory=list)
    theirs: list[Copied] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Verdict:
    """`ratio` of this tree's figure to the other's; `spread`: a difference has to be larger than that to be told."""

    word: str
    ratio: float
    spread: float


def judge(ours: Sequence[float], theirs: Sequence[float]) -> Verdict:
    """Of at least two pairs: better, same or worse. More is better."""
    logs = [math.log(a / b) for a, b in zip(ours, theirs, strict=True)]
    mean = statistics.fmean(logs)
    certain = _CERTAIN[min(len(logs) - 2, len(_CERTAIN) - 1)]
    spread = certain * statistics.stdev(logs) / math.sqrt(len(logs))
    word = "same" if abs(mean) <= spread else "better" if mean > 0 else "worse"
    return Verdict(word, math.exp(mean), math.expm1(spread))


def main() -> int:
    options = _options()
    started = time.monotonic()
    directory = Path(tempfile.mkdtemp(prefix="kmirror-quick-"))
    try:
        ours, theirs = _tree(directory / "ours"), _commit(options.against, directory / "theirs")
        if ours is None or theirs is None:
            return 1
        with stage(directory) as clusters:
            warm(clusters)
            pairs = [_prepared(clusters, load) for load in FULL if load.name in options.load]
            while time.monotonic() - started < options.seconds or len(pairs[-1].ours) < _LEAST_PAIRS:
                for one in pairs:
                    _run(clusters, one, ours, theirs)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    for one in pairs:
        for name, figure in _FIGURES.items():
            print(_line(one, name, [*map(figure, one.ours)], [*map(figure, one.theirs)], options.against))
    return 0


def _line(pairs: Pairs, name: str, ours: list[float], theirs: list[float], against: str) -> str:
    told = judge(ours, theirs)
    medians = f"{statistics.median(ours):,.0f} to {statistics.median(theirs):,.0f} {name} at {against}"
    spread = f"{len(ours)} pairs tell {100 * told.spread:.1f} %"
    return f"{pairs.load.name}: {told.word}: {told.ratio:.3f} x ({medians}; {spread})"


def _tree(target: Path) -> Path | None:
    shutil.copytree(_ROOT / "src", target / "src", ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    shutil.copy(_ROOT / "hatch_build.py", target)
    return _compiled(target)


def _commit(revision: str, target: Path) -> Path | None:
    target.mkdir()
    archive = subprocess.run(
        ["git", "archive", revision, "src", "hatch_build.py"], cwd=_ROOT, capture_output=True, check=False
    )
    if archive.returncode:
        print(f"Error: there is no commit {revision}: {archive.stderr.decode().strip()}", file=sys.stderr)
        return None
    subprocess.run(["tar", "-x"], cwd=target, input=archive.stdout, check=True)
    return _compiled(target)


def _compiled(tree: Path) -> Path:
    """With the compiled part, if there is a compiler: both trees have it, or none."""
    spec = importlib.util.spec_from_file_location("hatch_build", tree / "hatch_build.py")
    assert spec is not None
    assert spec.loader is not None
    build = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(build)
    for source in (tree / "src").rglob("*.c"):
        build._compile(source, source.with_suffix(".abi3.so"))  # noqa: SLF001  the build's own way to do it
    return tree / "src"


def _prepared(clusters: Stage, load: Load) -> Pairs:
    fill(clusters, load, payloads_of(clusters.directory, load.record_bytes))
    return Pairs(load)


def _run(clusters: Stage, pairs: Pairs, ours: Path, theirs: Path) -> None:
    """One pair; in each second one the other tree comes first."""
    sides = [(ours, pairs.ours), (theirs, pairs.theirs)]
    load = pairs.load
    for sources, copies in sides[:: -1 if len(pairs.ours) % 2 else 1]:
        clusters.clear(keep="bench-")
        directory = Path(tempfile.mkdtemp(prefix="job-", dir=clusters.directory))
        job = Job(clusters, load.topic, load.partitions, load.compression, directory, sources=sources)
        copies.append(measure("kmirror", CONTENDERS["kmirror"], job, load))
    print(f"{load.name}: {pairs.ours[-1].per_cpu:.0f}, {pairs.theirs[-1].per_cpu:.0f} MB/CPU-s", flush=True)


def _options() -> argparse.Namespace:
    names = [load.name for load in FULL if not load.traffic]
    parser = argparse.ArgumentParser(prog="python -m bench.quick", description=__doc__)
    parser.add_argument("--against", default="HEAD", metavar="COMMIT", help="the commit to compare with (default HEAD)")
    parser.add_argument("--load", type=some(names), default=["plain", "small"], metavar=",".join(names))
    parser.add_argument("--seconds", type=float, default=180.0)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
