"""What `mirror list` and `mirror describe` tell. Field names are Cluster Linking's JSON keys, ours follow them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kmirror.model.ledger import LostGap
from kmirror.model.mirror import Mirror, MirrorError
from kmirror.model.states import MirrorState
from kmirror.model.status import PartitionStatus, Throttle
from kmirror.ops.seen import Seen

UNKNOWN = -1
"""Of a lag or offset: nothing fetched yet, or not applicable."""


@dataclass(frozen=True, slots=True)
class MirrorRow:
    link_name: str
    mirror_topic_name: str
    source_topic_name: str
    mirror_status: str
    status_time_ms: int
    num_partition: int
    max_per_partition_mirror_lag: int
    max_per_partition_mirror_lag_ms: int
    mirror_lag: int
    records_per_s: float
    bytes_per_s: float
    mirror_topic_error: str
    mirror_topic_error_message: str
    status_age_ms: int


@dataclass(frozen=True, slots=True)
class PartitionRow:
    link_name: str
    mirror_topic_name: str
    source_topic_name: str
    mirror_status: str
    mirror_topic_error: str
    status_time_ms: int
    num_partition: int
    max_per_partition_mirror_lag: int
    partition: int
    partition_mirror_lag: int
    last_source_fetch_offset: int
    partition_mirror_lag_ms: int
    source_log_end_offset: int
    partition_state: str
    partition_error_message: str
    partition_error_since_ms: int
    mirror_topic_error_message: str
    status_age_ms: int
    lost_offsets: int
    """That the source had removed before they were copied: see the ledger."""
    throttled: Mapping[Throttle, float]
    """The whole link: by what, and for which part of the last seconds."""
    guard: tuple[str, ...]
    """The principals that kmirror has denied to write to the topic."""


def mirror_row(seen: Seen, mirror: Mirror) -> MirrorRow:
    parts = seen.partitions(mirror)
    status = seen.mirror_status(mirror.topic)
    error = _mirror_error(seen, mirror)
    flowing = seen.fresh is not None
    return MirrorRow(
        link_name=seen.link.name,
        mirror_topic_name=mirror.topic,
        source_topic_name=mirror.source_topic,
        mirror_status=seen.shown_state(mirror),
        status_time_ms=mirror.status_time_ms,
        num_partition=mirror.partitions,
        max_per_partition_mirror_lag=_max_lag(mirror, parts),
        max_per_partition_mirror_lag_ms=max((_lag_ms(mirror, p) for p in parts), default=UNKNOWN),
        mirror_lag=_sum_lag(mirror, parts),
        records_per_s=status.records_per_s if status and flowing else 0.0,
        bytes_per_s=status.bytes_per_s if status and flowing else 0.0,
        mirror_topic_error=error.code if error else "",
        mirror_topic_error_message=error_text(error),
        status_age_ms=UNKNOWN if seen.age_ms is None else seen.age_ms,
    )


def partition_rows(seen: Seen, mirror: Mirror, gaps: Sequence[LostGap] = ()) -> list[PartitionRow]:
    parts = seen.partitions(mirror)
    whole = mirror_row(seen, mirror)
    return [
        PartitionRow(
            link_name=whole.link_name,
            mirror_topic_name=whole.mirror_topic_name,
            source_topic_name=whole.source_topic_name,
            mirror_status=whole.mirror_status,
            mirror_topic_error=whole.mirror_topic_error,
            status_time_ms=whole.status_time_ms,
            num_partition=whole.num_partition,
            max_per_partition_mirror_lag=whole.max_per_partition_mirror_lag,
            partition=number,
            partition_mirror_lag=_lag(mirror, part),
            last_source_fetch_offset=_offset(part.log_end if part else None),
            partition_mirror_lag_ms=_lag_ms(mirror, part),
            source_log_end_offset=_offset(part.source_end if part else None),
            partition_state=part.state if part else "",
            partition_error_message=_partition_message(part),
            partition_error_since_ms=part.trouble.since_ms if part and part.trouble else UNKNOWN,
            mirror_topic_error_message=whole.mirror_topic_error_message,
            status_age_ms=whole.status_age_ms,
            lost_offsets=sum(gap.count for gap in gaps if gap.partition == number),
            throttled=seen.throttled,
            guard=seen.link.guards.get(mirror.topic, ()),
        )
        for number, part in enumerate(parts)
    ]


def error_text(error: MirrorError | None) -> str:
    """The reason with its place: topic, partition and offset are what the user looks for first."""
    if error is None:
        return ""
    place = "" if error.partition is None else f"partition {error.partition}"
    if error.offset is not None:
        place += f" offset {error.offset}"
    return f"{place.strip()}: {error.message}" if place.strip() else error.message


def _mirror_error(seen: Seen, mirror: Mirror) -> MirrorError | None:
    """Why it failed; or else why a step of it, such as a promote, does not get done yet."""
    if mirror.error or mirror.state is MirrorState.STOPPED or seen.fresh is None:
        return mirror.error
    failed = next((p.error for p in seen.partitions(mirror) if p and p.error), None)
    status = seen.mirror_status(mirror.topic)
    if failed or status is None or status.trouble is None:
        return failed
    return MirrorError(status.trouble.code, status.trouble.message)


def _partition_message(part: PartitionStatus | None) -> str:
    if part is None:
        return ""
    if part.error:
        return error_text(part.error)
    return part.trouble.message if part.trouble else ""


def _lag(mirror: Mirror, part: PartitionStatus | None) -> int:
    if mirror.state is MirrorState.STOPPED:
        return 0  # nothing is to be copied any more
    return UNKNOWN if part is None or part.lag is None else part.lag


def _lag_ms(mirror: Mirror, part: PartitionStatus | None) -> int:
    if mirror.state is MirrorState.STOPPED:
        return 0
    return UNKNOWN if part is None or part.lag_ms is None else part.lag_ms


def _max_lag(mirror: Mirror, parts: tuple[PartitionStatus | None, ...]) -> int:
    return max((_lag(mirror, p) for p in parts), default=UNKNOWN)


def _sum_lag(mirror: Mirror, parts: tuple[PartitionStatus | None, ...]) -> int:
    """Unknown as long as that of one partition is: half a lag would look like good news."""
    lags = [_lag(mirror, p) for p in parts]
    return UNKNOWN if UNKNOWN in lags else sum(lags)


def _offset(offset: int | None) -> int:
    return UNKNOWN if offset is None else offset
