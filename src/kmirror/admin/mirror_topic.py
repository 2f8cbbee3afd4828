"""The life of a mirror topic at the destination: made as the source's image, grown with it, released at the end."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Final, TypeVar

from kmirror.admin.cluster import ClusterAdmin, TopicConfig, TopicInfo
from kmirror.admin.many_topics import (
    TopicPlan,
    alter_topics,
    configs_of,
    create_topics,
    delete_records_of,
    find_topics,
    log_ends_of,
)
from kmirror.admin.mirror_configs import MirrorConfigs, still_different
from kmirror.errors import AuthorizationFailed, ClusterError, KmirrorError, NotFound, UsageError
from kmirror.model.access import Access
from kmirror.model.each import Each, split
from kmirror.model.topic_configs import ALWAYS, OPTIONAL

_WHILE_FILLED: Final = MappingProxyType({"cleanup.policy": "delete", "retention.ms": "-1"})
"""DeleteRecords needs the first; the filler has no key, which a compacted topic refuses."""
_AWAIT_S: Final = 120.0  # a busy broker makes the logs of hundreds of topics before it knows of the next one
_PAUSE_S: Final = 0.2

T = TypeVar("T")
FillHeads = Callable[[Mapping[str, tuple[str, Mapping[int, int]]]], Mapping[str, KmirrorError]]
"""Fills new topics with empty records: by topic its id, and by partition up to which offset. Returns what failed."""


@dataclass(frozen=True, slots=True)
class NewMirrorTopic:
    """A mirror topic to be made. `source` are the source topic's configs, `chosen` what the user gives.

    `starts`: log start and log end, by partition, only those above 0. `replication_factor` None: the cluster's own.
    `include` are the configs that follow the source.
    """

    topic: str
    partitions: int
    replication_factor: int | None
    plan: MirrorConfigs
    source: Mapping[str, TopicConfig]
    chosen: Mapping[str, str]
    starts: Mapping[int, int]
    include: frozenset[str] = ALWAYS | OPTIONAL

    @property
    def first_configs(self) -> Mapping[str, str]:
        return {**self.plan.configs, **_WHILE_FILLED} if self.starts else self.plan.configs

    @property
    def to_create(self) -> TopicPlan:
        return TopicPlan(self.topic, self.partitions, self.replication_factor, self.first_configs)


def check_replication(configs: Mapping[str, str], replication_factor: int) -> None:
    """Raises UsageError where no produce with acks=all could ever succeed."""
    least = configs.get("min.insync.replicas", "")
    if least.isdigit() and int(least) > replication_factor:
        raise UsageError(
            f"min.insync.replicas is {least}, but the mirror topic would have {replication_factor} replicas",
            hint=f"Add `--config min.insync.replicas={replication_factor}`, or a larger `--replication-factor`.",
        )


def create_mirror_topics(
    admin: ClusterAdmin, wanted: Sequence[NewMirrorTopic], fill_heads: FillHeads
) -> dict[str, TopicInfo | KmirrorError]:
    """Makes the topics, all in few requests. What fails after a topic was created says that it is left behind."""
    by_name = {item.topic: item for item in wanted}
    created, refused = split(create_topics(admin, [item.to_create for item in wanted]))
    made, faults = split(_ask_until(_has_leaders, list(created), partial(find_topics, admin)))
    faults |= _move_heads(admin, {name: by_name[name] for name in made}, made, fill_heads)
    faults |= _level_configs(admin, {name: by_name[name] for name in made if name not in faults})
    left = {name: _left_behind(name, fault) for name, fault in faults.items()}
    return {**made, **refused, **left}


def _ask_until(
    done: Callable[[T | KmirrorError], bool], topics: Sequence[str], ask: Callable[[Sequence[str]], Each[T]]
) -> Each[T]:
    """Asks about topics just created: brokers learn of them one after the other, and any of them may be asked."""
    deadline = time.monotonic() + _AWAIT_S
    found: Each[T] = {}
    waiting = list(topics)
    while waiting:
        found |= ask(waiting)
        late = [name for name in waiting if not done(found[name])]
        if len(late) < len(waiting):
            deadline = time.monotonic() + _AWAIT_S
        if not late or time.monotonic() > deadline:
            break
        waiting = late
        time.sleep(_PAUSE_S)
    return found


def _is_known(found: object) -> bool:
    return not isinstance(found, NotFound)


def _has_leaders(found: TopicInfo | KmirrorError) -> bool:
    """Any failure but "not known yet" is final."""
    return _is_known(found) and (isinstance(found, KmirrorError) or None not in found.leaders)


def _move_heads(
    admin: ClusterAdmin, wanted: Mapping[str, NewMirrorTopic], made: Mapping[str, TopicInfo], fill_heads: FillHeads
) -> dict[str, KmirrorError]:
    starts = {name: item.starts for name, item in wanted.items() if item.starts}
    if not starts:
        return {}
    faults = dict(fill_heads({name: (made[name].topic_id, of) for name, of in starts.items()}))
    faults |= split(delete_records_of(admin, {n: of for n, of in starts.items() if n not in faults}))[1]
    back = {n: {key: wanted[n].plan.configs.get(key) for key in _WHILE_FILLED} for n in starts if n not in faults}
    return faults | split(alter_topics(admin, back))[1]


def _level_configs(admin: ClusterAdmin, wanted: Mapping[str, NewMirrorTopic]) -> dict[str, KmirrorError]:
    """Sets what the cluster's own defaults would make another topic of it."""
    configs, faults = split(_ask_until(_is_known, list(wanted), partial(configs_of, admin)))
    changes = {
        name: still_different(wanted[name].source, found, wanted[name].chosen, wanted[name].include)
        for name, found in configs.items()
    }
    return faults | split(alter_topics(admin, changes))[1]


def _left_behind(topic: str, fault: KmirrorError) -> KmirrorError:
    again = f'Delete topic "{topic}" at the destination before you try again.'
    return ClusterError(
        f'topic "{topic}" was created, but is not yet a mirror: {fault.message}',
        hint=f"{fault.hint}\n{again}" if isinstance(fault, AuthorizationFailed) and fault.hint else again,
    )


def release_topics(access: Access, held_back: Mapping[str, Mapping[str, str]]) -> Each[tuple[int, ...]]:
    """Gives mirrors, now topics of their own, the configs that were held back, by topic. Blocks.

    Returns where each partition ends: what lies beyond is not the mirror's; nothing where the topic is gone.
    """
    admin = ClusterAdmin(access, "destination")
    found, absent = split(find_topics(admin, list(held_back)))
    ends, errors = split(log_ends_of(admin, {topic: info.partitions for topic, info in found.items()}))
    gone: dict[str, tuple[int, ...]] = {topic: () for topic, e in absent.items() if isinstance(e, NotFound)}
    errors |= {topic: e for topic, e in absent.items() if topic not in gone}
    changes = {topic: {key: value or None for key, value in held_back[topic].items()} for topic in {**ends, **gone}}
    errors |= split(alter_topics(admin, changes))[1]
    return {**ends, **gone, **errors}


def grow_topic(access: Access, topic: str, partitions: int) -> None:
    """Adds partitions at the destination, up to this number; done where it has them. Blocks; raises KmirrorError."""
    admin = ClusterAdmin(access, "destination")
    if admin.topic(topic).partitions < partitions:
        admin.grow_topic(topic, partitions)
