"""Consumer groups of one cluster, of both protocols (classic and KIP-848): which there are, what they committed."""

import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from typing import Final

from confluent_kafka import (
    ConsumerGroupState,
    ConsumerGroupTopicPartitions,
    KafkaError,
    KafkaException,
    TopicPartition,
)

from kmirror.admin.cluster import ClusterAdmin
from kmirror.admin.failures import PASSING, error_of
from kmirror.admin.log_bounds import log_bounds
from kmirror.errors import ClusterError, KmirrorError
from kmirror.model.group_offsets import IN_USE, Committed, LogBounds, PerGroup, Place

_AT_ONCE: Final = 100
"""Groups that are asked, or committed for, side by side: librdkafka takes one in a call."""
_RETRY_S: Final = 0.2
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
Answer = Future[ConsumerGroupTopicPartitions]


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

        def ask(left_s: float) -> dict[str, ConsumerGroupState]:
            while True:
                found = self._client.list_consumer_groups(request_timeout=left_s).result()
                if not found.errors or (found.valid and not whole):
                    return {group.group_id: group.state for group in found.valid}
                if found.errors[0].code() not in _COORDINATOR_MOVES or time.monotonic() > deadline:
                    raise KafkaException(found.errors[0])
                time.sleep(_RETRY_S)

        states = self._cluster.call("list the consumer groups", ask)
        # Kafka before 2.6 tells no state, and librdkafka does not know KIP-848's own: those are asked for one by one.
        unknown = [group for group, state in states.items() if state is ConsumerGroupState.UNKNOWN]
        busy = self._with_members(unknown)
        return {group: group in busy if group in unknown else state not in _QUIET for group, state in states.items()}

    def committed(self, groups: Iterable[str]) -> PerGroup[dict[Place, Committed]]:
        """All that these groups have committed; what could be read also of a group that is refused in part."""

        def begin(group: str, left_s: float) -> Answer:
            request = [ConsumerGroupTopicPartitions(group)]
            return self._client.list_consumer_group_offsets(request, request_timeout=left_s)[group]

        answers = self._each(list(groups), "read the committed offsets", begin)
        out: PerGroup[dict[Place, Committed]] = PerGroup(refused=answers.refused)
        for group, places in answers.found.items():
            out.found[group] = {
                (p.topic, p.partition): Committed(p.offset, p.metadata or "")
                for p in places
                if p.error is None and p.offset >= 0
            }
        return out

    def commit(self, offsets: Mapping[str, Mapping[Place, Committed]]) -> PerGroup[None]:
        """Commits for groups that have no member; one that has is refused, its code is IN_USE.

        No leader epoch goes along: that of another cluster means nothing here (KIP-320).
        """

        def begin(group: str, left_s: float) -> Answer:
            places = [TopicPartition(*place, *_offset(found)) for place, found in offsets[group].items()]
            request = [ConsumerGroupTopicPartitions(group, places)]
            return self._client.alter_consumer_group_offsets(request, request_timeout=left_s)[group]

        answers = self._each([group for group, found in offsets.items() if found], "commit offsets", begin)
        done = dict.fromkeys(group for group in answers.found if group not in answers.refused)
        return PerGroup(done, answers.refused)

    def log_bounds(self, places: Iterable[Place]) -> dict[Place, LogBounds]:
        return log_bounds(self._cluster, places)

    def _with_members(self, groups: list[str]) -> set[str]:
        if not groups:
            return set()

        def ask(left_s: float) -> set[str]:
            answers = self._client.describe_consumer_groups(groups, request_timeout=left_s)
            return {group for group, answer in answers.items() if answer.result().members}

        return self._cluster.call("describe the consumer groups", ask)

    def _each(
        self, groups: list[str], doing: str, begin: Callable[[str, float], Answer]
    ) -> PerGroup[list[TopicPartition]]:
        """`begin` for each group, many at a time, again while coordinators move; raises where none is answered."""
        out: PerGroup[list[TopicPartition]] = PerGroup()
        deadline = time.monotonic() + self._cluster.timeout_s
        waiting = groups
        while waiting:
            chunk, waiting = waiting[:_AT_ONCE], waiting[_AT_ONCE:]
            left_s = max(1.0, deadline - time.monotonic())
            begun = {group: begin(group, left_s) for group in chunk}
            moving = []
            for group, answer in begun.items():
                places, error = _answer(answer)
                if error is not None and error.code() in _COORDINATOR_MOVES and time.monotonic() < deadline:
                    moving.append(group)
                    continue
                if places:
                    out.found[group] = places
                elif error is None:
                    out.found[group] = []
                if error is not None:
                    out.refused[group] = self._refusal(error, group, doing)
            if moving:
                waiting += moving
                time.sleep(_RETRY_S)
            elif out.found:
                deadline = time.monotonic() + self._cluster.timeout_s  # of thousands each hundred has its time
            elif len(out.refused) >= _AT_ONCE:
                raise next(iter(out.refused.values()))  # none of a hundred: asking the others would take for ever
        return out

    def _refusal(self, error: KafkaError, group: str, doing: str) -> KmirrorError:
        if error.code() in _BUSY:
            return ClusterError(f'cannot {doing}: group "{group}" has members at the {self._cluster.side}', code=IN_USE)
        return self._cluster.refusal(error, f'{doing} of group "{group}"')


def _answer(answer: Answer) -> tuple[list[TopicPartition], KafkaError | None]:
    """What came, and the first error in it: some are told of the whole group, some of each partition."""
    try:
        places = answer.result().topic_partitions or []
    except KafkaException as failure:
        return [], error_of(failure)
    return places, next((p.error for p in places if p.error is not None), None)


def _offset(found: Committed) -> tuple[int, str] | tuple[int]:
    return (found.offset, found.metadata) if found.metadata else (found.offset,)
