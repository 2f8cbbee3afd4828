"""Where a new mirror begins: the source's log start, its end, or the first record from a time on."""

from datetime import UTC, datetime
from typing import Final

from kmirror.admin.cluster import ClusterAdmin
from kmirror.model.start_spec import EARLIEST, LATEST, parse_start_spec

_MS: Final = 1000


def start_offsets(source: ClusterAdmin, topic: str, partitions: int, spec: str) -> tuple[int, ...]:
    """The first offset of each partition that the mirror is going to hold; raises ClusterError."""
    kind = parse_start_spec(spec)
    starts = source.log_starts(topic, partitions)
    if kind == EARLIEST:
        return starts
    ends = source.stable_ends(topic, partitions)
    if kind == LATEST:
        return ends
    assert isinstance(kind, datetime)
    at = source.offsets_at(topic, partitions, round(kind.astimezone(UTC).timestamp() * _MS))
    # A time after the last record has no offset: the mirror begins with what comes next.
    return tuple(ends[p] if at[p] < 0 else min(max(at[p], starts[p]), ends[p]) for p in range(partitions))
