"""docs/operations.md and docs/faults.md name tests beside what they claim: each of them exists."""

import re
from pathlib import Path

import pytest

from support.named_tests import names_of_tests

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("page", ["operations.md"])
def test_every_test_that_is_named_exists(page: str) -> None:
    named = set(re.findall(r"`(test_\w+)`", (DOCS / page).read_text("utf-8")))
    assert named
    assert named <= names_of_tests(), f"no such tests: {sorted(named - names_of_tests())}"
