"""Runs kmirror under a profiler: `python -m bench.profiling samples|calls FILE <kmirror's arguments>`.

`samples` looks at each tick of the CPU clock where the program is, and costs next to nothing: time is where it shows.
`calls` is cProfile: exact counts of calls, but it makes small functions look dearer than they are.
"""

import cProfile
import os
import pstats
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Final

KINDS: Final = ("samples", "calls")
_EVERY_S: Final = 0.001  # or as often as the kernel's clock ticks, 250 times a second for most
_TOP: Final = 25


def top_functions(kind: str, file: Path) -> str:
    """What the run left in `file`, as a table by own time."""
    if kind == "samples":
        return file.read_text("utf-8")
    with file.with_suffix(".txt").open("w") as out:
        pstats.Stats(str(file), stream=out).strip_dirs().sort_stats("tottime").print_stats(_TOP)
    return file.with_suffix(".txt").read_text("utf-8")


class _Samples:
    """Counts functions, lines and callers at each tick of the process's CPU clock."""

    def __init__(self) -> None:
        self._functions: Counter[str] = Counter()
        self._lines: Counter[str] = Counter()
        self._inclusive: Counter[str] = Counter()

    def take(self, _number: int, frame: FrameType | None) -> None:
        if frame is None:
            return
        self._functions[_function(frame)] += 1
        self._lines[f"{_function(frame)}:{frame.f_lineno}"] += 1
        seen = set()
        caller: FrameType | None = frame
        while caller is not None:
            seen.add(_function(caller))
            caller = caller.f_back
        self._inclusive.update(seen)

    def report(self) -> str:
        total = max(1, self._functions.total())
        parts = [f"{total} samples in {time.process_time():.2f} CPU-seconds, start-up included"]
        tables = (("own time", self._functions), ("own time by line", self._lines), ("with callees", self._inclusive))
        for title, counts in tables:
            parts.append(f"\n{title}")
            parts += [f"{100 * count / total:6.1f} %  {name}" for name, count in counts.most_common(_TOP)]
        return "\n".join(parts) + "\n"


def _function(frame: FrameType) -> str:
    path = Path(frame.f_code.co_filename)
    return f"{path.parent.name}/{path.name} {frame.f_code.co_qualname}"


def _run(kind: str, file: Path) -> None:
    from kmirror.cli.app import main  # noqa: PLC0415  what is imported counts as kmirror's start-up

    if kind == "calls":
        profile = cProfile.Profile()
        try:
            profile.runcall(main)
        finally:
            profile.dump_stats(file)
        return
    samples = _Samples()
    signal.signal(signal.SIGPROF, samples.take)
    signal.siginterrupt(signal.SIGPROF, False)
    signal.setitimer(signal.ITIMER_PROF, _EVERY_S, _EVERY_S)
    try:
        main()
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        file.write_text(samples.report(), "utf-8")


if __name__ == "__main__":
    _kind, _file = sys.argv[1], Path(sys.argv[2])
    sys.argv = ["kmirror", *sys.argv[3:]]
    os.umask(0o077)
    _run(_kind, _file)
