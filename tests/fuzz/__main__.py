"""`make fuzz`: damaged answers of brokers, so many for each target. No crash, no hang, no memory beyond the limit.

What is found is printed with its seed, and kept: `python -m fuzz --target T --seed N --inputs 1` runs it again.
"""

import argparse
import resource
import signal
import sys
import time
import traceback
from types import FrameType
from typing import Final

from fuzz.targets import TARGETS, damage_of

_HANG_S: Final = 5
_MEMORY_BYTES: Final = 1 << 30
_MOST_FINDS: Final = 5


class Hang(BaseException):
    """An input took longer than it may."""


def fuzz(name: str, seed: int, inputs: int) -> int:
    """Runs one target on `inputs` damaged frames; returns how many were found bad."""
    target, inputs_of = TARGETS[name][1], damage_of(name)
    found = 0
    began = time.monotonic()
    for number in range(seed, seed + inputs):
        data, version = inputs_of(number)
        signal.setitimer(signal.ITIMER_REAL, _HANG_S)
        try:
            target(data, version)
        except (Exception, Hang):  # whatever it is, it should not be
            found += 1
            print(f"{name}: seed {number}, {len(data)} bytes:\n{traceback.format_exc(limit=-6)}", flush=True)
            if found >= _MOST_FINDS:
                break
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    print(f"{name}: {number + 1 - seed} inputs, {found} bad, {time.monotonic() - began:.0f} s", flush=True)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(prog="make fuzz FUZZ=...", description=__doc__)
    parser.add_argument("--target", action="append", choices=TARGETS)
    parser.add_argument("--inputs", type=int, default=10_000, help="for each target")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    signal.signal(signal.SIGALRM, _on_alarm)
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, resource.getrlimit(resource.RLIMIT_AS)[1]))
    found = sum(fuzz(name, options.seed, options.inputs) for name in options.target or TARGETS)
    return 1 if found else 0


def _on_alarm(_number: int, _frame: FrameType | None) -> None:
    raise Hang


if __name__ == "__main__":
    sys.exit(main())
