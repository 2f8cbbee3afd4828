"""The fault hunter for a short time, with seeds of its own each day: HUNT_SECONDS says how long (60 by default)."""

import os
import time
from pathlib import Path

import pytest

from hunt import schedule
from hunt.report import found, markdown
from hunt.run import Result, run
from hunt.stage import Stage

SECONDS = float(os.environ.get("HUNT_SECONDS", "60"))
FIRST_SEED = int(time.time()) // 86_400 * 1_000
"""The same all day, so that a failure is seen again by who looks for it."""


@pytest.mark.timeout(SECONDS + 400)
def test_no_fault_makes_a_mirror_differ(tmp_path: Path) -> None:
    """Seeded traffic and faults; each mirror is exact, and none ends without a reason. `make hunt` does it for long."""
    results: list[Result] = []
    began = time.monotonic()
    with Stage(tmp_path / "stage") as stage:
        while not results or time.monotonic() - began < SECONDS:
            seed = FIRST_SEED + len(results)
            folder = tmp_path / f"seed-{seed}"
            results.append(run(stage, schedule.make(seed), folder))
            if not results[-1].good:
                pytest.fail(found(results[-1], folder), pytrace=False)
    print(markdown(f"HUNT_SECONDS={SECONDS:g}", results))
    assert sum(result.records for result in results) > 1_000 * len(results)
