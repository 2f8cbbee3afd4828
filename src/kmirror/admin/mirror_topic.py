"""The life of a mirror topic at the destination: made as the source's image, grown with it, released at the end."""

from collections.abc import Mapping

from kmirror.admin.cluster import ClusterAdmin, TopicConfig, TopicInfo
from kmirror.admin.mirror_configs import MirrorConfigs, still_different
from kmirror.errors import ClusterError, KmirrorError, UsageError


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
) -> TopicInfo:
    """Makes the topic; what fails after that says that the topic is left behind."""
    admin.create_topic(topic, partitions, replication_factor, plan.configs)
    try:
        made = admin.await_topic(topic)
        admin.alter_topic(topic, still_different(source, admin.topic_configs(topic), chosen))
    except KmirrorError as e:
        raise ClusterError(
            f'topic "{topic}" was created, but is not yet a mirror: {e.message}',
            hint=f'Delete topic "{topic}" at the destination before you try again.',
        ) from e
    return made


def release_topic(bootstrap: str, topic: str, held_back: Mapping[str, str]) -> None:
    """Gives the mirror, now a topic of its own, the configs that were held back. Blocks; raises KmirrorError."""
    admin = ClusterAdmin(bootstrap, "destination")
    admin.alter_topic(topic, {key: value or None for key, value in held_back.items()})


def grow_topic(bootstrap: str, topic: str, partitions: int) -> None:
    """Adds partitions at the destination, up to this number; done where it has them. Blocks; raises KmirrorError."""
    admin = ClusterAdmin(bootstrap, "destination")
    if admin.topic(topic).partitions < partitions:
        admin.grow_topic(topic, partitions)
