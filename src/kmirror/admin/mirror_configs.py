"""Which configs a mirror topic gets: a pure function of what the source topic has. Categories as in Cluster Linking.

While it is a mirror, some of them must let every record of the source through as it is; what the source has there is
held back until the mirror becomes a topic of its own.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from kmirror.admin.cluster import Origin, TopicConfig
from kmirror.errors import UsageError
from kmirror.model.topic_configs import ALWAYS, OPTIONAL

_MAX_LONG: Final = str(2**63 - 1)
FIXED: Final = MappingProxyType(
    {
        "compression.type": "producer",  # anything else has the broker compress every batch anew
        "message.timestamp.type": "CreateTime",  # LogAppendTime would overwrite the records' timestamps
        "message.timestamp.before.max.ms": _MAX_LONG,
        "message.timestamp.after.max.ms": _MAX_LONG,
    }
)
"""Every mirror topic has these set, as its own."""
_SIZE: Final = "max.message.bytes"
_SIZE_DEFAULT: Final = 1048588  # Kafka's: batches that are older than the source's present limit may have this size
_OWN: Final = "min.insync.replicas"
"""Depends on the replication factor, which each cluster chooses for itself: copied only where the topic says it."""

OVERRIDDEN: Final = frozenset({*FIXED, _SIZE})


@dataclass(frozen=True, slots=True)
class MirrorConfigs:
    """`configs` are for the mirror; `held_back` for the topic that it becomes ("" takes the mirror's value away)."""

    configs: Mapping[str, str]
    held_back: Mapping[str, str]


def mirror_configs(source: Mapping[str, TopicConfig], chosen: Mapping[str, str]) -> MirrorConfigs:
    """`chosen` is what the user gives; raises UsageError where it is not theirs to give."""
    for key in chosen:
        if key in ALWAYS or key in OVERRIDDEN:
            raise UsageError(
                f'configuration "{key}" cannot be chosen for a mirror topic',
                hint=f'Remove "{key}": it follows the source topic.',
            )
    copied = {k: c.value for k, c in source.items() if k in ALWAYS | OPTIONAL and _is_copied(k, c)}
    size = source.get(_SIZE)
    overrides = {**FIXED, _SIZE: str(max(int(size.value) if size else 0, _SIZE_DEFAULT))}
    held_back = {k: copied.get(k, "") for k, v in overrides.items() if copied.get(k) != v}
    return MirrorConfigs({**copied, **chosen, **overrides}, held_back)


def _is_copied(key: str, config: TopicConfig) -> bool:
    return config.origin is Origin.TOPIC or (config.origin is Origin.BROKER and key != _OWN)


def still_different(
    source: Mapping[str, TopicConfig], mirror: Mapping[str, TopicConfig], chosen: Mapping[str, str]
) -> dict[str, str]:
    """What the new mirror must have set because its cluster's defaults are not the source's.

    A source topic with Kafka's own retention, mirrored to brokers that keep an hour, would lose records there.
    """
    keys = (ALWAYS | OPTIONAL) - OVERRIDDEN - {_OWN} - chosen.keys()
    return {
        key: source[key].value
        for key in sorted(keys & source.keys() & mirror.keys())
        if source[key].value != mirror[key].value
    }
