"""docs/guarantees.md names a test beside each promise: each of them exists."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "guarantees.md").read_text("utf-8")


def test_every_test_that_is_named_exists() -> None:
    there = set()
    for path in (ROOT / "tests").rglob("test_*.py"):
        tree = ast.parse(path.read_text("utf-8"))
        there |= {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    named = set(re.findall(r"`(test_\w+)`", PAGE))
    assert len(named) > 40
    assert named <= there, f"no such tests: {sorted(named - there)}"


def test_every_row_names_a_test() -> None:
    rows = [
        line for line in PAGE.splitlines() if line.startswith("|") and not re.match(r"\|[ |-]*\||.*\| tests \|$", line)
    ]
    assert len(rows) > 30
    without = [row for row in rows if "`test_" not in row.split("|")[-2]]
    assert not without
