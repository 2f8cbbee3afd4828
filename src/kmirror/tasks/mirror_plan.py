"""What new mirrors are going to be: both clusters are asked about all of them at once, and nothing is changed."""

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from kmirror.admin.cluster import ClusterAdmin, TopicInfo
from kmirror.admin.many_topics import configs_of, find_topics
from kmirror.admin.mirror_configs import MirrorConfigs, mirror_configs
from kmirror.admin.mirror_topic import NewMirrorTopic, check_replication
from kmirror.engine.copy import now_ms
from kmirror.errors import Conflict, KmirrorError, NotFound
from kmirror.model.each import Each, split
from kmirror.model.link import Link
from kmirror.model.mirror import Mirror
from kmirror.model.settings import value_of
from kmirror.model.states import MirrorState
from kmirror.model.topic_configs import parse_synced
from kmirror.tasks.mirror_start import start_offsets

_MIN_ISR: Final = "min.insync.replicas"


@dataclass(frozen=True, slots=True)
class MirrorPlan:
    """The topic to make, and the mirror to record once it has an id."""

    new_topic: NewMirrorTopic
    mirror: Mirror


def plan_mirrors(
    link: Link,
    source: ClusterAdmin,
    destination: ClusterAdmin,
    sources: Mapping[str, str],
    *,
    replication_factor: int | None,
    chosen: Mapping[str, str],
) -> Each[MirrorPlan]:
    """`sources` has the source topic of each mirror topic. Raises UsageError where `chosen` can't be for any topic."""
    mirror_configs({}, chosen)
    include = parse_synced(value_of(link.configs, "topic.config.sync.include"))
    failed: dict[str, KmirrorError] = {}
    originals, absent = split(find_topics(source, list(dict.fromkeys(sources.values()))))
    explain = _absence(source, link) if any(isinstance(e, NotFound) for e in absent.values()) else None
    for topic, name in sources.items():
        if name in absent:
            fault = absent[name]
            failed[topic] = explain(name) if explain and isinstance(fault, NotFound) else fault
    failed |= _taken(link, destination, {t: name for t, name in sources.items() if t not in failed})
    left = {topic: name for topic, name in sources.items() if topic not in failed}
    counts = {name: originals[name].partitions for name in left.values()}
    configs, no_configs = split(configs_of(source, list(counts)))
    starts, no_starts = split(start_offsets(source, counts, value_of(link.configs, "mirror.start.offset.spec")))
    unread = {**no_configs, **no_starts}
    check_min_isr = _min_isr_check(destination, replication_factor)
    plans: Each[MirrorPlan] = dict(failed)
    for topic, name in left.items():
        if name in unread:
            plans[topic] = unread[name]
            continue
        new = NewMirrorTopic(
            topic=topic,
            partitions=originals[name].partitions,
            replication_factor=replication_factor,
            plan=mirror_configs(configs[name], chosen, include),
            source=configs[name],
            chosen=chosen,
            starts={partition: start for partition, start in enumerate(starts[name]) if start > 0},
            include=include,
        )
        try:
            check_min_isr(new.plan)
        except KmirrorError as e:
            plans[topic] = e
        else:
            plans[topic] = MirrorPlan(new, _mirror(originals[name], new, starts[name]))
    return plans


def _mirror(original: TopicInfo, new: NewMirrorTopic, starts: Sequence[int]) -> Mirror:
    return Mirror(
        topic=new.topic,
        source_topic=original.topic,
        source_topic_id=original.topic_id,
        destination_topic_id="",
        partitions=original.partitions,
        start_offsets=tuple(starts),
        state=MirrorState.ACTIVE,
        status_time_ms=now_ms(),
        chosen=new.chosen,
        held_back=new.plan.held_back,
    )


def _taken(link: Link, destination: ClusterAdmin, sources: Mapping[str, str]) -> dict[str, KmirrorError]:
    """A topic that exists can't become a mirror."""
    there, absent = split(find_topics(destination, list(sources)))
    taken: dict[str, KmirrorError] = {
        topic: Conflict(
            f'topic "{topic}" already exists',
            hint="Delete it at the destination, or choose another name with "
            f"`kmirror mirror create NAME --source-topic {sources[topic]} --link {link.name}`.",
        )
        for topic in there
    }
    return taken | {topic: e for topic, e in absent.items() if not isinstance(e, NotFound)}


def _absence(source: ClusterAdmin, link: Link) -> Callable[[str], NotFound]:
    names = [topic for topic in source.topics() if not topic.startswith("__")]

    def explain(name: str) -> NotFound:
        near = difflib.get_close_matches(name, names, n=3)
        meant = f"Did you mean {' or '.join(near)}?" if near else "Check its name, and the right to describe it."
        return NotFound(f'source topic "{name}" not found on the source cluster of link "{link.name}"', hint=meant)

    return explain


def _min_isr_check(destination: ClusterAdmin, replication_factor: int | None) -> Callable[[MirrorConfigs], None]:
    """A check that asks for the cluster's default once, and only if some topic needs it."""
    known: list[int | None] = [] if replication_factor is None else [replication_factor]

    def check(plan: MirrorConfigs) -> None:
        if _MIN_ISR not in plan.configs:
            return
        if not known:
            known.append(destination.default_replication_factor())
        if known[0] is not None:
            check_replication(plan.configs, known[0])

    return check
