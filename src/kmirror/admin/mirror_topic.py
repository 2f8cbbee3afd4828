"""The life of a mirror topic at the destination: made as the source's image, grown with it, released at the end."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from kmirror.admin.cluster import ClusterAdmin, TopicConfig, TopicInfo
from kmirror.admin.mirror_configs import MirrorConfigs, still_different
from kmirror.errors import ClusterError, KmirrorError, UsageError

_WHILE_FILLED: Final = MappingProxyType({"cleanup.policy": "delete", "retention.ms": "-1"})
"""DeleteRecords needs the first; the filler has no key, which a compacted topic refuses."""

FillHeads = Callable[[str, str, Mapping[int, int]], None]
"""Fills (topic, topic id, partition to offset) with empty records up to these offsets."""


def check_replication(configs: Mapping[str, str], replication_factor: int) -> None:
    """Raises UsageError where no produce with acks=all could ever succeed."""
    least = configs.get("min.insync.replicas", "")
    if least.isdigit() and int(least) > replication_factor:
        raise UsageError(
            f"min.insync.replicas is {least}, but the mirror topic would have {replication_factor} replicas",
            hint=f"Add `--config min.insync.replicas={replication_factor}`, or a larger `--replication-factor`.",
        )


def create_mirror_topic(
    admin: ClusterAdmin,
    topic: str,
    *,
    partitions: int,
    replication_factor: int | None,
    plan: MirrorConfigs,
    source: Mapping[str, TopicConfig],
    chosen: Mapping[str, str],
    starts: Mapping[int, int],
    fill_heads: FillHeads,
) -> TopicInfo:
    """Makes the topic, with log starts and log ends at `starts` (partition to offset, only those above 0).

    What fails after that says that the topic is left behind.
    """
    during = {**plan.configs, **_WHILE_FILLED} if starts else plan.configs
    admin.create_topic(topic, partitions, replication_factor, during)
    try:
        made = admin.await_topic(topic)
        if starts:
            fill_heads(topic, made.topic_id, starts)
            admin.delete_records(topic, starts)
            admin.alter_topic(topic, {key: plan.configs.get(key) for key in _WHILE_FILLED})
        admin.alter_topic(topic, still_different(source, admin.topic_configs(topic), chosen))
    except KmirrorError as e:
        raise ClusterError(
            f'topic "{topic}" was created, but is not yet a mirror: {e.message}',
            hint=f'Delete topic "{topic}" at the destination before you try again.',
        ) from e
    return made


def release_topic(bootstrap: str, topic: str, held_back: Mapping[str, str]) -> tuple[int, ...]:
    """Gives the mirror, now a topic of its own, the configs that were held back. Blocks; raises KmirrorError.

    Returns where each partition ends: what lies beyond is not the mirror's; nothing where the topic is gone.
    """
    admin = ClusterAdmin(bootstrap, "destination")
    found = admin.find_topic(topic)
    ends = admin.log_ends(topic, found.partitions) if found else ()
    admin.alter_topic(topic, {key: value or None for key, value in held_back.items()})
    return ends


def grow_topic(bootstrap: str, topic: str, partitions: int) -> None:
    """Adds partitions at the destination, up to this number; done where it has them. Blocks; raises KmirrorError."""
    admin = ClusterAdmin(bootstrap, "destination")
    if admin.topic(topic).partitions < partitions:
        admin.grow_topic(topic, partitions)
