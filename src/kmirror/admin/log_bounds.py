"""Where many partitions, of many topics, start and end: asked of all their leaders at once."""

from collections.abc import Iterable
from typing import Final

from confluent_kafka import IsolationLevel, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import OffsetSpec  # type: ignore[attr-defined]  # its own names, not marked as exported

from kmirror.admin.cluster import ClusterAdmin
from kmirror.admin.failures import error_of
from kmirror.model.group_offsets import LogBounds, Place
from kmirror.model.rights import ANY, Need

_NONE_SUCH: Final = frozenset(
    {KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION}  # noqa: SLF001
)
_EARLIEST: Final = OffsetSpec.earliest()  # type: ignore[no-untyped-call]
_LATEST: Final = OffsetSpec.latest()  # type: ignore[no-untyped-call]


def log_bounds(cluster: ClusterAdmin, places: Iterable[Place]) -> dict[Place, LogBounds]:
    """Log starts and log ends; a partition that does not exist has none. Blocks, raises KmirrorError."""
    wanted = [TopicPartition(topic, partition) for topic, partition in places]
    if not wanted:
        return {}
    starts, ends = _edges(cluster, wanted, _EARLIEST), _edges(cluster, wanted, _LATEST)
    return {place: LogBounds(starts[place], end) for place, end in ends.items() if place in starts}


def _edges(cluster: ClusterAdmin, wanted: list[TopicPartition], spec: OffsetSpec) -> dict[Place, int]:
    def ask(left_s: float) -> dict[Place, int]:
        answers = cluster.client.list_offsets(
            dict.fromkeys(wanted, spec), isolation_level=IsolationLevel.READ_UNCOMMITTED, request_timeout=left_s
        )
        out = {}
        for place, answer in answers.items():
            try:
                out[place.topic, place.partition] = answer.result().offset
            except KafkaException as e:
                if error_of(e).code() not in _NONE_SUCH:
                    raise
        return out

    return cluster.call("read where logs start and end", ask, Need("TOPIC", "READ", ANY), {p.topic for p in wanted})
