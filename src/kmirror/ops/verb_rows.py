"""The table that pause, resume, promote and failover share: Cluster Linking's JSON keys, then ours."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from kmirror.errors import ClusterError, Conflict, KmirrorError, NotFound, NotReached, UsageError

UNKNOWN = -1


@dataclass(frozen=True, slots=True)
class VerbRow:
    """One partition; or, with -1s and an error, one topic that failed.

    `records_left_behind`: after a promote the records that came to the source later, after a failover those not copied.
    """

    mirror_topic_name: str
    partition: int = UNKNOWN
    partition_mirror_lag: int = UNKNOWN
    last_source_fetch_offset: int = UNKNOWN
    error_message: str = ""
    error_code: str = ""
    mirror_status: str = ""
    target_offset: int = UNKNOWN
    records_left_behind: int = UNKNOWN


@dataclass(frozen=True, slots=True)
class TopicOutcome:
    """What became of one topic; `error` is None where the verb did its work."""

    topic: str
    rows: tuple[VerbRow, ...]
    error: KmirrorError | None = None


def in_order(
    topics: Iterable[str], rows: Mapping[str, tuple[VerbRow, ...]], errors: Mapping[str, KmirrorError]
) -> list[TopicOutcome]:
    """The outcome of each topic, once each: its error where it has one, else its rows."""
    return [
        failed(topic, errors[topic]) if topic in errors else TopicOutcome(topic, rows[topic])
        for topic in dict.fromkeys(topics)
    ]


def failed(topic: str, error: KmirrorError) -> TopicOutcome:
    row = VerbRow(topic, error_message=error.message, error_code=error_code(error))
    return TopicOutcome(topic, (row,), error)


def error_code(error: KmirrorError) -> str:
    """Cluster Linking's name of what went wrong."""
    match error:
        case ClusterError():
            return error.code
        case NotFound():
            return "UNKNOWN_TOPIC_OR_PARTITION_ERROR"
        case NotReached():
            return "TIMEOUT_ERROR"
        case Conflict() | UsageError():
            return "INVALID_REQUEST_ERROR"
        case _:
            return "INTERNAL_ERROR"
