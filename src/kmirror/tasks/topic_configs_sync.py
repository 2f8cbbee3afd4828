"""TopicConfigsSync: the configs of mirror topics follow those of their source topics.

Those that a mirror may not have yet are changed in its record, so that promote sets what the source has at that time.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, Final

from kmirror.errors import KmirrorError, Unreachable
from kmirror.model.each import split
from kmirror.model.mirror import Mirror
from kmirror.model.settings import seconds_of, value_of
from kmirror.model.states import MirrorState
from kmirror.model.topic_configs import parse_synced
from kmirror.tasks.task import Task, TaskRun

if TYPE_CHECKING:
    from kmirror.admin.cluster import ClusterAdmin, TopicConfig

_REST_S: Final = 0.05
"""For each topic: dozens of configs are asked of both clusters. So it takes little, however many topics there are."""
_FEW: Final = 100
"""Of so many mirrors the configs are asked in each run; of more where those of the source are not as before."""
_ALL_EVERY: Final = 4
"""Runs: what somebody changes at a mirror is set right then, however many there are."""
_MIN_ISR: Final = "min.insync.replicas"


class TopicConfigsSync(Task):
    name: ClassVar[str] = "TopicConfigsSync"

    def __init__(self) -> None:
        self._runs = 0
        self._followed: dict[str, int] = {}

    def period_s(self, configs: Mapping[str, str]) -> float | None:
        return seconds_of(configs, "topic.config.sync.ms")

    def run(self, run: TaskRun) -> None:
        mirrors = {m.topic: m for m in run.link.mirrors.values() if m.state is MirrorState.ACTIVE}
        run.rest_s = _REST_S * len(mirrors)
        if len(mirrors) <= _FEW or self._runs % _ALL_EVERY == 0:
            self._followed.clear()
        self._runs += 1
        _sync(run, mirrors, self._followed)

    def last_run(self, run: TaskRun, topic: str) -> None:
        _sync(run, {topic: run.link.mirrors[topic]}, {})


def _sync(run: TaskRun, mirrors: Mapping[str, Mirror], followed: dict[str, int]) -> None:
    """`followed`: by topic, what it was made to follow by an earlier run, in short."""
    if not mirrors:
        return
    from kmirror.admin.mirror_configs import followed_configs

    include = parse_synced(value_of(run.link.configs, "topic.config.sync.include"))
    sources = _configs(run, run.source, {mirror.source_topic for mirror in mirrors.values()})
    wanted = {
        topic: _in_short(sources[mirror.source_topic], mirror, include)
        for topic, mirror in mirrors.items()
        if mirror.source_topic in sources
    }
    present = _configs(run, run.destination, [topic for topic, short in wanted.items() if followed.get(topic) != short])
    for topic, mirror in sorted(mirrors.items()):
        if topic not in present or run.stopping:
            continue
        followed.pop(topic, None)
        plan = followed_configs(sources[mirror.source_topic], present[topic], mirror.chosen, include)
        try:
            possible = _possible(run, topic, plan.configs)
            _set(run, mirror, possible, present[topic])
            _hold_back(run, mirror, plan.held_back)
        except Unreachable:
            raise
        except KmirrorError as e:
            run.failed(e)
        else:
            if possible == plan.configs:  # else it is told in each run
                followed[topic] = wanted[topic]
    run.counts["topics"] = len(mirrors)


def _in_short(source: "Mapping[str, TopicConfig]", mirror: Mirror, include: frozenset[str]) -> int:
    own = (frozenset(configs.items()) for configs in (source, mirror.chosen, mirror.held_back))
    return hash((mirror.destination_topic_id, include, *own))


def _configs(run: TaskRun, admin: "ClusterAdmin", topics: Iterable[str]) -> "dict[str, dict[str, TopicConfig]]":
    from kmirror.admin.many_topics import configs_of

    found, failed = split(configs_of(admin, sorted(topics)))
    for error in failed.values():
        if isinstance(error, Unreachable):
            raise error
        run.failed(error)
    return found


def _possible(run: TaskRun, topic: str, changes: Mapping[str, str]) -> Mapping[str, str]:
    """Without what would have the mirror refuse every record."""
    least = changes.get(_MIN_ISR)
    if least is None:
        return changes
    replicas = run.destination.topic(topic).replication_factor
    if int(least) <= replicas:
        return changes
    run.problem(
        "MISCONFIGURATION_ERROR",
        f'topic "{topic}": {_MIN_ISR} is {least} at the source, but the mirror topic has {replicas} replicas',
    )
    return {key: value for key, value in changes.items() if key != _MIN_ISR}


def _set(run: TaskRun, mirror: Mirror, changes: Mapping[str, str], present: "Mapping[str, TopicConfig]") -> None:
    if not changes:
        return
    with run.env.topics:
        if not _still(run, mirror):
            return
        run.destination.alter_topic(mirror.topic, changes)
    for key, value in changes.items():
        run.changed(f'topic "{mirror.topic}" {key}', present[key].value, value)


def _hold_back(run: TaskRun, mirror: Mirror, held_back: Mapping[str, str]) -> None:
    if held_back == mirror.held_back:
        return
    with run.env.topics:
        if not _still(run, mirror):
            return
        run.env.store.change_mirror(run.link.name, mirror.topic, lambda found: replace(found, held_back=held_back))
    for key in sorted(held_back.keys() | mirror.held_back.keys()):
        old, new = mirror.held_back.get(key), held_back.get(key)
        if old != new:
            run.noted(f'topic "{mirror.topic}" {key} at its promote', old or None, new or None)


def _still(run: TaskRun, mirror: Mirror) -> bool:
    """It is the mirror that it was when the run began, and no topic of its own yet."""
    found = run.recorded().mirrors.get(mirror.topic)
    same = found is not None and found.destination_topic_id == mirror.destination_topic_id
    return same and found is not None and found.state in {MirrorState.ACTIVE, MirrorState.PENDING_STOPPED}
