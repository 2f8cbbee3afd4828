"""What the oracle says: one difference between a source topic and its mirror, readable in a test report."""

from dataclasses import dataclass
from enum import StrEnum

from support.logs import Isolation, Seen

SHOWN = 80
"""Bytes of a long key or value that a report shows."""


class What(StrEnum):
    PARTITIONS = "partition count"
    LOG_START = "log start"
    LOG_END = "log end"
    MISSING = "missing"
    EXTRA = "extra"
    KEY = "key"
    VALUE = "value"
    HEADERS = "headers"
    TIMESTAMP = "timestamp"
    TIMESTAMP_TYPE = "timestamp type"
    UNSTABLE = "changed between two reads"
    MORE = "more"


@dataclass(frozen=True, slots=True)
class Difference:
    partition: int | None
    offset: int | None
    isolation: Isolation | None
    what: What
    source: object
    destination: object

    def __str__(self) -> str:
        if self.what is What.MORE:
            return f"... and {self.destination} more records that differ"
        where = [f"partition {self.partition}"] if self.partition is not None else []
        where += [f"offset {self.offset}"] if self.offset is not None else []
        where += [f"({self.isolation})"] if self.isolation else []
        place = f"{' '.join(where)}: " if where else ""
        if self.what is What.MISSING:
            return f"{place}missing at the destination: {_show(self.source)}"
        if self.what is What.EXTRA:
            return f"{place}extra at the destination: {_show(self.destination)}"
        told = f"{place}{self.what}: source {_show(self.source)}, destination {_show(self.destination)}"
        return told + _first_difference(self.source, self.destination)


def _show(value: object) -> str:
    if isinstance(value, Seen):
        parts = (f"{name}={_show(getattr(value, name))}" for name in ("key", "value", "headers", "timestamp"))
        return ", ".join(parts)
    if isinstance(value, bytes) and len(value) > SHOWN:
        return f"{value[:SHOWN]!r}... ({len(value)} bytes)"
    return repr(value)


def _first_difference(source: object, destination: object) -> str:
    """Long values often differ behind the part that is shown."""
    if (
        not (isinstance(source, bytes) and isinstance(destination, bytes))
        or max(len(source), len(destination)) <= SHOWN
    ):
        return ""
    pairs = zip(source, destination, strict=False)
    at = next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(source), len(destination)))
    return f"; first differs at byte {at}: {source[at : at + 16]!r}, {destination[at : at + 16]!r}"
