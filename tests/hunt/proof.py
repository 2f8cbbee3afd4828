"""`make hunt-proof`: does the hunter find what it is there for? Three deliberate bugs, one at a time."""

import argparse
import os
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import kmirror
from hunt import schedule
from hunt.run import run
from hunt.stage import Stage
from support import processes

MOST_RUNS = 50
"""Within so many runs each bug has to be found."""


@dataclass(frozen=True, slots=True)
class Bug:
    name: str
    file: str
    right: str
    wrong: str


BUGS = (
    Bug(
        "an ack not checked",
        "engine/appender.py",
        "        if self.broken or error != NONE:\n            self.broken = True\n",
        "        if self.broken:\n            self.broken = True\n",
    ),
    Bug(
        "a marker skipped",
        "engine/gap_filler.py",
        "            copy.filled(end, token)\n",
        "            copy.filled(min(end + (count > 1), gap.end), token)\n",
    ),
    Bug(
        "a sequence not checked at reopen",
        "engine/opening.py",
        "        before = await ask.producer_state(where, producer_id)\n",
        "        before = None\n        end = await ask.log_end(where)\n        break\n",
    ),
)


def main() -> int:
    parser = argparse.ArgumentParser(prog="make hunt-proof PROOF=...", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="of the first run with each bug (default: 1)")
    options = parser.parse_args()
    os.environ[processes.SESSION_VARIABLE] = f"proof-{os.getpid()}"
    found = [_look_for(bug, options.seed) for bug in BUGS]
    return 0 if all(found) else 1


def _look_for(bug: Bug, first: int) -> bool:
    """Runs with the bug until something is found; says what, after how many runs and how long."""
    folder = Path(tempfile.mkdtemp(prefix="kmirror-proof-"))
    before = os.environ.get("PYTHONPATH", "")
    os.environ["PYTHONPATH"] = f"{_broken(bug, folder)}{os.pathsep}{before}"  # the runners and verbs take it from there
    began = time.monotonic()
    try:
        with Stage(folder / "stage", brokers=1, version="4.3.1") as stage:
            for number in range(MOST_RUNS):
                result = run(stage, schedule.make(first + number), folder / f"seed-{first + number}")
                if result.trouble:
                    sys.stderr.write(f"{bug.name}: seed {first + number}: {result.trouble}\n")
                if result.found:
                    what = [*result.differences, *result.findings][0]
                    print(
                        f"{bug.name}: found in run {number + 1} (seed {first + number}),"
                        f" {time.monotonic() - began:.0f} s: {what:.300}",
                        flush=True,
                    )
                    return True
    finally:
        os.environ["PYTHONPATH"] = before
        shutil.rmtree(folder, ignore_errors=True)
    print(f"{bug.name}: NOT found in {MOST_RUNS} runs", flush=True)
    return False


def _broken(bug: Bug, folder: Path) -> Path:
    source = Path(kmirror.__file__).parent
    copy = folder / "src" / "kmirror"
    shutil.copytree(source, copy, ignore=shutil.ignore_patterns("__pycache__"))
    path = copy / bug.file
    text = path.read_text()
    assert text.count(bug.right) == 1, f"{bug.file} has changed: {bug.name} can't be made there"
    path.write_text(text.replace(bug.right, bug.wrong))
    return copy.parent


if __name__ == "__main__":
    sys.exit(main())
