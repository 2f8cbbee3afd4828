"""`mirror.start.offset.spec`: earliest, latest, or an ISO 8601 time."""

from datetime import UTC, datetime
from typing import Final

EARLIEST: Final = "earliest"
LATEST: Final = "latest"


def parse_start_spec(text: str) -> str | datetime:
    """EARLIEST, LATEST or a time (in UTC where it names no zone); raises ValueError."""
    if text in {EARLIEST, LATEST}:
        return text
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError('is not "earliest", "latest" or an ISO 8601 time such as 2026-01-31T12:00:00Z') from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
