"""`python -m bench`: see README.md beside this file."""

import argparse
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from types import FrameType

from bench.contenders import CONTENDERS
from bench.loads import FULL, SHORT
from bench.options import some
from bench.plan import Plan
from bench.profiling import KINDS
from bench.report import facts, place, write_json
from bench.run import run
from bench.stage import stage
from bench.table import print_tables


def main() -> int:
    signal.signal(signal.SIGTERM, _terminated)
    options = _options()
    loads = SHORT if options.short else FULL
    plan = Plan(
        name="short" if options.short else "full",
        loads=tuple(load for load in loads if load.name in options.load),
        contenders=tuple(options.only),
        rounds=options.rounds or (1 if options.short or options.profile else 3),
        latency=options.latency and not options.profile,
        profile=options.profile,
    )
    directory = Path(tempfile.mkdtemp(prefix="kmirror-bench-", dir=options.directory))
    try:
        with stage(directory) as clusters:
            machine = facts(clusters)
            results = run(plan, clusters)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    print_tables(results)
    whole = len(plan.loads) == len(loads) and set(plan.contenders) == set(CONTENDERS) and plan.latency
    target = options.json or (place(plan) if whole else None)
    if target:
        write_json(results, machine, target)
        print(f"\nWritten to {target.name}.")
    return 0


def _terminated(number: int, _frame: FrameType | None) -> None:
    """Ends all that was started, as Ctrl-C does."""
    sys.exit(f"bench: ended by {signal.Signals(number).name}")


def _options() -> argparse.Namespace:
    names = [load.name for load in FULL]
    parser = argparse.ArgumentParser(prog="python -m bench", description="kmirror against MirrorMaker 2 and a loop.")
    parser.add_argument(
        "--short", action="store_true", help="64 MB a load, one round, MirrorMaker 2 for the first only"
    )
    parser.add_argument("--load", type=some(names), default=names, metavar=",".join(names))
    parser.add_argument("--only", type=some(list(CONTENDERS)), default=list(CONTENDERS), metavar=",".join(CONTENDERS))
    parser.add_argument(
        "--rounds", type=int, help="medians are taken of so many (default 3, of --short and --profile 1)"
    )
    parser.add_argument("--no-latency", dest="latency", action="store_false")
    parser.add_argument("--profile", nargs="?", const="samples", choices=KINDS, help="profile kmirror (one round)")
    parser.add_argument("--directory", type=Path, help="where the clusters keep their data meanwhile (10 GB)")
    parser.add_argument("--json", type=Path, help="write the results there")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
