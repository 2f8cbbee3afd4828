"""What this principal may do at a cluster, and whether topics are as a mirror needs them. Changes nothing.

Brokers tell a principal its own rights (KIP-430): nothing has to be tried.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from confluent_kafka import TopicCollection
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # its own names, not marked as exported
    AdminClient,
    TopicDescription,
)

from kmirror.admin.cluster import Answers, ClusterAdmin
from kmirror.admin.many_topics import configs_of
from kmirror.errors import AuthorizationFailed, KmirrorError
from kmirror.model.each import Each, split
from kmirror.model.guard import Authorizer
from kmirror.model.rights import Need


@dataclass(frozen=True, slots=True)
class TopicState:
    """`rights` are Kafka's names of operations; None where the brokers don't tell them.

    `leaderless` and `under_min_isr` are partitions; `configs` are the topic's effective ones.
    """

    rights: frozenset[str] | None
    replicas: int
    leaderless: tuple[int, ...]
    in_sync: Mapping[int, int]
    configs: Mapping[str, str]

    @property
    def min_isr(self) -> int:
        return int(self.configs.get("min.insync.replicas", "1"))

    @property
    def under_min_isr(self) -> tuple[int, ...]:
        """A produce with acks=all is refused there."""
        return tuple(p for p, count in self.in_sync.items() if count < self.min_isr and p not in self.leaderless)


def cluster_rights(admin: ClusterAdmin) -> frozenset[str] | None:
    """What may be done at the cluster as a whole; None where the brokers don't tell. Raises KmirrorError."""

    def ask(left_s: float) -> frozenset[str] | None:
        found = admin.client.describe_cluster(include_authorized_operations=True, request_timeout=left_s).result()
        return _names(found.authorized_operations)

    return admin.call("read the rights on the cluster", ask)


def authorizer_of(admin: ClusterAdmin) -> Authorizer:
    """What a broker tells of its authorizer. Its values are shown to nobody, as Kafka knows no type of them."""
    try:
        configs = admin.broker_configs()
    except AuthorizationFailed:
        return Authorizer(None, None)
    return Authorizer("super.users" in configs, "allow.everyone.if.no.acl.found" in configs)


def topic_states(admin: ClusterAdmin, topics: Sequence[str]) -> Each[TopicState]:
    """A topic that does not exist, or may not be described, is an error."""
    described, errors = split(admin.each(topics, "describe topic", _describe, "READ") if topics else {})
    configs, unread = split(configs_of(admin, list(described)))
    states: Each[TopicState] = {**errors, **unread}
    for name, entries in configs.items():
        states[name] = _state(described[name], {key: config.value for key, config in entries.items()})
    return states


def topic_rights(admin: ClusterAdmin, topics: Sequence[str]) -> dict[str, frozenset[str] | None]:
    """What may be done with each topic; nothing where it may not be described, None where that is not told."""
    described, errors = split(admin.each(topics, "describe topic", _describe, "READ"))
    told: dict[str, frozenset[str] | None] = {t: _names(d.authorized_operations) for t, d in described.items()}
    return told | {t: frozenset() if isinstance(e, AuthorizationFailed) else None for t, e in errors.items()}


def _describe(client: AdminClient, topics: Sequence[str], left_s: float) -> Answers[TopicDescription]:
    collection = TopicCollection(list(topics))
    found = client.describe_topics(collection, include_authorized_operations=True, request_timeout=left_s)
    return {name: future.result for name, future in found.items()}


def group_rights(admin: ClusterAdmin, group: str) -> frozenset[str] | None:
    """What may be done with a group, which need not exist; None where that is not told."""

    def ask(left_s: float) -> frozenset[str] | None:
        asked = admin.client.describe_consumer_groups(
            [group], include_authorized_operations=True, request_timeout=left_s
        )
        return _names(asked[group].result().authorized_operations)

    try:
        return admin.call(f'describe group "{group}"', ask, Need("GROUP", "DESCRIBE", group))
    except AuthorizationFailed:
        return frozenset()
    except KmirrorError:
        return None


def _state(found: TopicDescription, configs: Mapping[str, str]) -> TopicState:
    return TopicState(
        rights=_names(found.authorized_operations),
        replicas=max(len(p.replicas) for p in found.partitions),
        leaderless=tuple(p.id for p in found.partitions if p.leader is None or p.leader.id < 0),
        in_sync={p.id: len(p.isr) for p in found.partitions},
        configs=configs,
    )


def _names(operations: Iterable[object] | None) -> frozenset[str] | None:
    return None if operations is None else frozenset(str(getattr(o, "name", o)) for o in operations)
