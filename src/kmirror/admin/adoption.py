"""A topic that was there before becomes a mirror: only what a mirror must have is changed, and can be given back."""

from collections.abc import Mapping

from kmirror.admin.cluster import ClusterAdmin, TopicConfig
from kmirror.admin.mirror_configs import OVERRIDDEN, MirrorConfigs, mirror_configs
from kmirror.model.topic_configs import ALWAYS, OPTIONAL


def adoption_configs(source: Mapping[str, TopicConfig], own: Mapping[str, TopicConfig]) -> MirrorConfigs:
    """What to set at a topic with the configs `own` so that it can mirror one with the configs `source`.

    Its retention and all else that is each cluster's own business stays: a shorter one would delete its records.
    """
    plan = mirror_configs(source, {})
    wanted = {key: source[key].value for key in ALWAYS & source.keys()}
    wanted |= {key: plan.configs[key] for key in OVERRIDDEN}
    return MirrorConfigs({k: v for k, v in wanted.items() if k not in own or own[k].value != v}, plan.held_back)


def adopt_topic(source: ClusterAdmin, source_topic: str, destination: ClusterAdmin, topic: str) -> Mapping[str, str]:
    """Gives `topic` the configs of a mirror of `source_topic`. Blocks; raises KmirrorError. May be done twice.

    Returns those that it gets once it is a topic of its own again.
    """
    plan = adoption_configs(source.topic_configs(source_topic), destination.topic_configs(topic))
    destination.alter_topic(topic, plan.configs)
    return plan.held_back


def kept_configs(own: Mapping[str, TopicConfig], source: Mapping[str, TopicConfig]) -> dict[str, str]:
    """What an old source keeps of its own as a mirror: all that one may choose, where the new source has it otherwise.

    So a shorter retention at the new source does not become that of the old one.
    """
    keys = (OPTIONAL - OVERRIDDEN) & own.keys() & source.keys()
    return {key: own[key].value for key in sorted(keys) if own[key].value != source[key].value}
