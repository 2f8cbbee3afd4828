"""docs/parity.md has every feature of Cluster Linking once, with a state, what kmirror does, and tests that exist."""

import re
from pathlib import Path

from support.named_tests import names_of_tests

FEATURES = 58
STATES = {"yes", "in another way", "not yet"}
PAGE = (Path(__file__).parents[2] / "docs" / "parity.md").read_text("utf-8")
ROWS = [[cell.strip() for cell in line[1:-1].split("|")] for line in PAGE.splitlines() if re.match(r"\| \d", line)]


def test_each_feature_has_its_row() -> None:
    assert [int(row[0]) for row in ROWS] == list(range(1, FEATURES + 1))
    assert {len(row) for row in ROWS} == {5}


def test_states_are_those_that_are_explained() -> None:
    assert {row[2] for row in ROWS} <= STATES
    assert all(f"**{state}**" in PAGE for state in STATES)


def test_what_is_there_is_tested_and_what_differs_is_told() -> None:
    without = [row[0] for row in ROWS if row[2] != "not yet" and "`test_" not in row[4]]
    assert not without
    assert not [row[0] for row in ROWS if row[2] == "in another way" and not row[3]]


def test_every_test_that_is_named_exists() -> None:
    named = set(re.findall(r"`(test_\w+)`", PAGE))
    assert named <= names_of_tests(), f"no such tests: {sorted(named - names_of_tests())}"
