"""docs/operations.md and docs/faults.md name tests beside what they claim: each of them exists."""

import re
from pathlib import Path

import pytest

from support.named_tests import names_of_tests

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("page", ["operations.md", "faults.md"])
def test_every_test_that_is_named_exists(page: str) -> None:
    named = set(re.findall(r"`(test_\w+)`", (DOCS / page).read_text("utf-8")))
    assert named
    assert named <= names_of_tests(), f"no such tests: {sorted(named - names_of_tests())}"


def test_each_of_the_faults_has_a_test() -> None:
    rows = [
        line.split(" | ") for line in (DOCS / "faults.md").read_text("utf-8").splitlines() if re.match(r"\| \d", line)
    ]
    assert [int(row[0].strip("| ")) for row in rows] == list(range(1, 38))
    assert all("`test_" in row[3] for row in rows)
