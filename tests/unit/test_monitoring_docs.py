"""docs/monitoring.md tells each metric, and none that is not there."""

import re
from pathlib import Path

from support.metrics import names_told

ROOT = Path(__file__).resolve().parents[2]


def documented() -> set[str]:
    """The names in the table's first column: `_lost_total` after `kmirror_connections_opened_total` is its sibling."""
    names: set[str] = set()
    for line in (ROOT / "docs" / "monitoring.md").read_text().splitlines():
        if not line.startswith("| `kmirror_"):
            continue
        first, *others = re.findall(r"`([a-z_]+)`", line.split("|")[1])
        names.add(first)
        stem = re.sub(r"_(opened_total|records_total|runs_total|lag_records)$", "", first)
        names |= {other if other.startswith("kmirror_") else stem + other for other in others}
    return names


def test_every_metric_is_documented() -> None:
    assert documented() == names_told()
