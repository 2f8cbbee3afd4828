"""Where new mirrors begin: the source's log start, its end, or the first record from a time on."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

from kmirror.admin.cluster import ClusterAdmin
from kmirror.admin.many_topics import Offsets, log_starts_of, offsets_at_of, stable_ends_of
from kmirror.model.each import Each, split
from kmirror.model.start_spec import EARLIEST, LATEST, parse_start_spec

_MS: Final = 1000


def start_offsets(source: ClusterAdmin, partitions: Mapping[str, int], spec: str) -> Each[Offsets]:
    """By source topic the first offset of each partition that the mirror is going to hold."""
    kind = parse_start_spec(spec)
    if kind == LATEST:
        return stable_ends_of(source, partitions)
    starts, failed = split(log_starts_of(source, partitions))
    if kind == EARLIEST:
        return {**starts, **failed}
    assert isinstance(kind, datetime)
    left = {topic: partitions[topic] for topic in starts}
    ends, no_ends = split(stable_ends_of(source, left))
    at, not_at = split(offsets_at_of(source, left, round(kind.astimezone(UTC).timestamp() * _MS)))
    found = {topic: _from_time(starts[topic], at[topic], ends[topic]) for topic in at.keys() & ends.keys()}
    return {**found, **failed, **no_ends, **not_at}


def _from_time(starts: Offsets, at: Offsets, ends: Offsets) -> Offsets:
    """A time after the last record has no offset: the mirror begins with what comes next."""
    return tuple(
        end if first < 0 else min(max(first, start), end) for start, first, end in zip(starts, at, ends, strict=True)
    )
