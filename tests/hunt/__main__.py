"""`python -m hunt`: many runs, one after the other, on two clusters that are started once."""

import argparse
import os
import shutil
import signal
import sys
import tempfile
import time
import uuid
from dataclasses import replace
from pathlib import Path

from hunt import report, schedule
from hunt.run import Result, run
from hunt.stage import Stage
from support import processes

RESTART_AFTER = 60
"""Runs after which the clusters are made anew, lest old logs slow them down."""


def main() -> int:
    options = _options()
    folder = options.folder or Path(tempfile.mkdtemp(prefix="kmirror-hunt-"))
    folder.mkdir(parents=True, exist_ok=True)
    os.environ[processes.SESSION_VARIABLE] = uuid.uuid4().hex
    command = f"make hunt HUNT='{' '.join(sys.argv[1:])}'"
    results: list[Result] = []
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        hunt(options, folder, results, command)
    except (KeyboardInterrupt, SystemExit):
        print("stopped", file=sys.stderr)
    print(report.write(folder, command, results))
    print(f"report and logs of what was found: {folder}")
    return 0 if results and all(result.good for result in results) else 1


def hunt(options: argparse.Namespace, folder: Path, results: list[Result], command: str) -> None:
    deadline = time.monotonic() + options.minutes * 60 if options.minutes else float("inf")
    most = options.runs or (1 if options.seed is not None and not options.minutes else 10**9)
    first = options.seed if options.seed is not None else int(time.time()) % 10**6 * 1000
    while len(results) < most and time.monotonic() < deadline:
        directory = Path(tempfile.mkdtemp(prefix="kmirror-stage-"))
        with Stage(directory, brokers=options.brokers, version=options.source_version) as stage:
            for _ in range(RESTART_AFTER):
                if len(results) >= most or time.monotonic() > deadline:
                    break
                seed = first + len(results)
                made = schedule.make(seed, topics=options.topics, brokers=options.brokers)
                plan = replace(made, gap_fill_mode=options.gap_fill_mode, workers=options.workers or made.workers)
                result = run(stage, plan, folder / f"seed-{seed}")
                results.append(result)
                _tell(result)
                report.write(folder, command, results)
                if result.trouble or (options.stop and result.found):
                    break
        shutil.rmtree(directory, ignore_errors=True)
        if options.stop and results and results[-1].found:
            return


def _tell(result: Result) -> None:
    faults = ", ".join(f"{kind} {times}" for kind, times in result.faults.items())
    state = "good" if result.good else "FOUND"
    print(
        f"seed {result.seed}: {state}, {result.records} records, {result.seconds} s; {faults}"
        f"{'; failed as it should: ' + str(len(result.failed)) if result.failed else ''}",
        flush=True,
    )
    for line in [*result.differences[:8], *result.findings, *result.trouble.splitlines()[-3:]]:
        print(f"    {line[:1500]}", flush=True)
    if not result.good:
        print(f"    again: make hunt HUNT='--seed {result.seed}'", flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make hunt HUNT=...", description=__doc__)
    parser.add_argument("--seed", type=int, help="of the first run; the next ones count on from it")
    parser.add_argument("--runs", type=int, help="so many; one where only a seed is given, else without end")
    parser.add_argument("--minutes", type=float, help="no new run after so many minutes")
    parser.add_argument("--topics", type=int, default=5, help="mirrors in a run, four or more (default: 5)")
    parser.add_argument("--brokers", type=int, choices=(1, 3), default=1, help="of each cluster (default: 1)")
    parser.add_argument(
        "--gap-fill-mode",
        choices=("auto", "markers", "transactions"),
        default="auto",
        help="of the link (default: auto)",
    )
    parser.add_argument("--workers", type=int, help="of the runners (default: two in one run of four)")
    parser.add_argument("--source-version", default="4.3.1", help="of Kafka at the source (default: 4.3.1)")
    parser.add_argument("--stop", action="store_true", help="at the first run that finds something")
    parser.add_argument("--folder", type=Path, help="for the report, and the logs of runs that found something")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
