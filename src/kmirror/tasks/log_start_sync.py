"""LogStartSync: a mirror's log start follows its source's by DeleteRecords, for those who must delete everywhere.

Off by default: without it each cluster removes old records by its own retention.
"""

from collections.abc import Mapping
from typing import ClassVar

from kmirror.errors import KmirrorError
from kmirror.model.group_offsets import LogBounds, Place
from kmirror.model.mirror import Mirror
from kmirror.model.settings import is_on, seconds_of
from kmirror.model.states import MirrorState
from kmirror.tasks.task import Task, TaskRun


class LogStartSync(Task):
    name: ClassVar[str] = "LogStartSync"

    def period_s(self, configs: Mapping[str, str]) -> float | None:
        return seconds_of(configs, "log.start.sync.ms") if is_on(configs, "log.start.sync.enable") else None

    def run(self, run: TaskRun) -> None:
        from kmirror.admin.log_bounds import log_bounds  # librdkafka: only a link with tasks has it

        mirrors = [m for m in run.link.mirrors.values() if m.state is MirrorState.ACTIVE]
        at_source = log_bounds(
            run.source, {place for mirror in mirrors for place in _places(mirror.source_topic, mirror)}
        )
        there = log_bounds(run.destination, {place for mirror in mirrors for place in _places(mirror.topic, mirror)})
        for mirror in mirrors:
            before = deletions(mirror, at_source, there)
            if not before:
                continue
            try:
                run.destination.delete_records(mirror.topic, before)
            except KmirrorError as e:
                run.failed(e)
                continue
            for partition, offset in before.items():
                run.changed(f"log start of {mirror.topic}[{partition}]", there[mirror.topic, partition].start, offset)


def deletions(mirror: Mirror, at_source: Mapping[Place, LogBounds], there: Mapping[Place, LogBounds]) -> dict[int, int]:
    """The log start that each partition is to have, of those that have an earlier one; never beyond its log end."""
    out = {}
    for partition in range(mirror.partitions):
        source, found = at_source.get((mirror.source_topic, partition)), there.get((mirror.topic, partition))
        if source is not None and found is not None and found.start < (start := min(source.start, found.end)):
            out[partition] = start
    return out


def _places(topic: str, mirror: Mirror) -> list[Place]:
    return [(topic, partition) for partition in range(mirror.partitions)]
