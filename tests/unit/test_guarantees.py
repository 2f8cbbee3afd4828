"""docs/guarantees.md names a test beside each promise: each of them exists."""

import re
from pathlib import Path

from support.named_tests import names_of_tests

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "guarantees.md").read_text("utf-8")


def test_every_test_that_is_named_exists() -> None:
    named = set(re.findall(r"`(test_\w+)`", PAGE))
    assert len(named) > 40
    assert named <= names_of_tests(), f"no such tests: {sorted(named - names_of_tests())}"


def test_every_row_names_a_test() -> None:
    rows = [
        line for line in PAGE.splitlines() if line.startswith("|") and not re.match(r"\|[ |-]*\||.*\| tests \|$", line)
    ]
    assert len(rows) > 30
    without = [row for row in rows if "`test_" not in row.split("|")[-2]]
    assert not without
