"""Consumer groups of one cluster, of both protocols (classic and KIP-848): which there are, what they committed."""

import time
from collections.abc import Iterable, Mapping
from typing import Final, TypeVar

from confluent_kafka import ConsumerGroupState, ConsumerGroupType, KafkaError, KafkaException
from confluent_kafka.admin import ConsumerGroupListing  # type: ignore[attr-defined]  # not marked as exported

from kmirror.admin.cluster import ClusterAdmin
from kmirror.admin.failures import PASSING
from kmirror.admin.log_bounds import log_bounds
from kmirror.errors import AuthorizationFailed, ClusterError, KmirrorError
from kmirror.model.group_offsets import IN_USE, Committed, LogBounds, PerGroup, Place
from kmirror.model.rights import ANY, SOURCE, Need, to_grant
from kmirror.wire.errors import BrokerError
from kmirror.wire.groups import commit_offsets, committed_offsets

_RETRY_S: Final = 0.2
_PROBE: Final = "kmirror-probe"
_QUIET: Final = frozenset({ConsumerGroupState.EMPTY, ConsumerGroupState.DEAD})
_BUSY: Final = frozenset(
    {
        KafkaError.UNKNOWN_MEMBER_ID,  # a commit without a member id, to a group that has members
        KafkaError.NON_EMPTY_GROUP,
        KafkaError.REBALANCE_IN_PROGRESS,
        KafkaError.ILLEGAL_GENERATION,
        KafkaError.STALE_MEMBER_EPOCH,
    }
)
_COORDINATOR_MOVES: Final = PASSING | {
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.NOT_COORDINATOR,
}

T = TypeVar("T")


class GroupAdmin:
    """Asks one cluster about its groups. All methods block, and raise KmirrorError where nothing at all is answered."""

    def __init__(self, cluster: ClusterAdmin) -> None:
        self._cluster = cluster
        self._client = cluster.client

    def groups(self, *, whole: bool = False) -> dict[str, bool]:
        """Every group that this principal may see; True: it has members.

        A broker that does not answer hides no group for long: its groups move to another one. With `whole` it is an
        error all the same: for those who must not miss one.
        """
        deadline = time.monotonic() + self._cluster.timeout_s

        def ask(left_s: float) -> dict[str, bool]:
            while True:
                found = self._client.list_consumer_groups(request_timeout=left_s).result()
                if not found.errors or (found.valid and not whole):
                    return {group.group_id: _has_members(group) for group in found.valid}
                if found.errors[0].code() not in _COORDINATOR_MOVES or time.monotonic() > deadline:
                    raise KafkaException(found.errors[0])
                time.sleep(_RETRY_S)

        return self._cluster.call("list the consumer groups", ask)

    def hidden(self, need: Need) -> KmirrorError | None:
        """A group that we may not describe is not listed, either: the refusal, if that is so. It need not exist."""
        name = _PROBE if need.name == ANY else need.name

        def ask(left_s: float) -> None:
            self._client.describe_consumer_groups([name], request_timeout=left_s)[name].result()

        try:
            self._cluster.call(f'describe group "{name}"', ask, need)
        except AuthorizationFailed as e:
            return e
        except KmirrorError:
            return None  # it does not exist, most likely: brokers differ in what they say then
        return None

    def committed(self, groups: Iterable[str]) -> PerGroup[dict[Place, Committed]]:
        """All that these groups have committed; what could be read also of a group that is refused in part."""
        return self._told(committed_offsets(self._cluster.access, list(groups), self._cluster.timeout_s))

    def commit(self, offsets: Mapping[str, Mapping[Place, Committed]]) -> PerGroup[None]:
        """Commits for groups that have no member; one that has is refused, its code is IN_USE."""
        wanted = {group: found for group, found in offsets.items() if found}
        return self._told(commit_offsets(self._cluster.access, wanted, self._cluster.timeout_s))

    def log_bounds(self, places: Iterable[Place]) -> dict[Place, LogBounds]:
        return log_bounds(self._cluster, places)

    def _told(self, answers: PerGroup[T]) -> PerGroup[T]:
        refused = {group: self._refusal(group, error) for group, error in answers.refused.items()}
        return PerGroup(answers.found, refused)

    def _refusal(self, group: str, error: KmirrorError) -> KmirrorError:
        code = getattr(error, "code", "INTERNAL_ERROR")
        if isinstance(error, BrokerError) and error.kafka_code in _BUSY:
            code = IN_USE
        said = f"the {self._cluster.side} cluster did not {error.message}"
        if code != "AUTHORIZATION_ERROR":
            return ClusterError(said, hint=error.hint, code=code)
        of_topic = isinstance(error, BrokerError) and error.kafka_code == KafkaError.TOPIC_AUTHORIZATION_FAILED
        operation = "DESCRIBE" if self._cluster.side == SOURCE else "READ"
        need = Need("TOPIC", "READ", ANY) if of_topic else Need("GROUP", operation, group)
        return AuthorizationFailed(said, hint=to_grant(self._cluster.access, need), code=code)


def _has_members(group: ConsumerGroupListing) -> bool:
    """As far as the list tells. A commit is refused anyway where there is one."""
    if group.state is ConsumerGroupState.UNKNOWN:
        # librdkafka does not know the states that KIP-848 added, and Kafka before 2.6 tells none.
        return getattr(group, "type", None) is ConsumerGroupType.CONSUMER
    return group.state not in _QUIET
