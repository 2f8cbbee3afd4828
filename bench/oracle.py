"""A benchmark of wrong bytes is worthless: the tests' oracle compares the copy with its source, record by record."""

import sys
from pathlib import Path

from bench.stage import Stage

_TESTS = Path(__file__).resolve().parent.parent / "tests"


def check_copy(stage: Stage, topic: str, records: int) -> None:
    """Raises AssertionError that tells the differences."""
    if str(_TESTS) not in sys.path:
        sys.path.append(str(_TESTS))
    from support import oracle  # noqa: PLC0415  tests/ has to be on the path first

    source, destination = stage.source.bootstrap_servers, stage.destination.bootstrap_servers
    oracle.assert_same(source, destination, topic, at_least=records, timeout=600)
