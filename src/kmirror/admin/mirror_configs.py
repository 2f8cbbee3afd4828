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


def mirror_configs(
    source: Mapping[str, TopicConfig], chosen: Mapping[str, str], include: frozenset[str] = ALWAYS | OPTIONAL
) -> MirrorConfigs:
    """`chosen` is what the user gives; raises UsageError where it is not theirs to give.

    `include`: the configs that follow the source (topic.config.sync.include).
    """
    for key in chosen:
        if key in ALWAYS or key in OVERRIDDEN:
            raise UsageError(
                f'configuration "{key}" cannot be chosen for a mirror topic',
                hint=f'Remove "{key}": it follows the source topic.',
            )
    copied = {k: c.value for k, c in source.items() if k in include and _is_copied(k, c)}
    overrides = {**FIXED, _SIZE: _size(source)}
    return MirrorConfigs({**copied, **chosen, **overrides}, _held_back(copied, overrides))


def followed_configs(
    source: Mapping[str, TopicConfig],
    mirror: Mapping[str, TopicConfig],
    chosen: Mapping[str, str],
    include: frozenset[str] = ALWAYS | OPTIONAL,
) -> MirrorConfigs:
    """What is to be set on a mirror that has the configs `mirror`, because the source has these now.

    A size that the mirror allows is never taken back: larger batches of earlier times may still be to come.
    """
    larger = max(_size(source), mirror[_SIZE].value if _SIZE in mirror else "0", key=int)
    overrides = {**FIXED, _SIZE: larger}
    copied = {k: c.value for k, c in source.items() if k in include and _is_copied(k, c)}
    same = {k: source[k].value for k in include - OVERRIDDEN - {_OWN} if k in source}
    own = {_OWN: copied[_OWN]} if _OWN in copied else {}
    wanted = {k: v for k, v in {**same, **own}.items() if k not in chosen} | overrides
    changes = {k: v for k, v in sorted(wanted.items()) if k in mirror and mirror[k].value != v}
    return MirrorConfigs(changes, _held_back(copied, overrides))


def _size(source: Mapping[str, TopicConfig]) -> str:
    return str(max(int(source[_SIZE].value) if _SIZE in source else 0, _SIZE_DEFAULT))


def _held_back(copied: Mapping[str, str], overrides: Mapping[str, str]) -> dict[str, str]:
    return {key: copied.get(key, "") for key, value in overrides.items() if copied.get(key) != value}


def _is_copied(key: str, config: TopicConfig) -> bool:
    return config.origin is Origin.TOPIC or (config.origin is Origin.BROKER and key != _OWN)


def still_different(
    source: Mapping[str, TopicConfig],
    mirror: Mapping[str, TopicConfig],
    chosen: Mapping[str, str],
    include: frozenset[str] = ALWAYS | OPTIONAL,
) -> dict[str, str]:
    """What the new mirror must have set because its cluster's defaults are not the source's.

    A source topic with Kafka's own retention, mirrored to brokers that keep an hour, would lose records there.
    """
    keys = include - OVERRIDDEN - {_OWN} - chosen.keys()
    return {
        key: source[key].value
        for key in sorted(keys & source.keys() & mirror.keys())
        if source[key].value != mirror[key].value
    }
