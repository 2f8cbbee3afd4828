"""Many topics of one cluster in few requests. Every answer is by topic: a value, or the error of that topic alone."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from confluent_kafka import IsolationLevel, TopicCollection, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # its own names, not marked as exported
    AdminClient,
    ConfigResource,
    NewTopic,
    OffsetSpec,
    ResourceType,
)

from kmirror.admin.cluster import (
    BROKER_DEFAULT,
    EARLIEST,
    LATEST,
    Answers,
    ClusterAdmin,
    TopicConfig,
    TopicInfo,
    alteration,
    topic_configs,
    topic_info,
)
from kmirror.model.each import Each

_READ: Final = 500
"""Topics in a request that reads: an answer of some hundred kB."""
_WRITE_RECORDS: Final = 2_000
"""Of the controller's metadata log in a request that writes: it takes 10,000 at once (QuorumController)."""

A = TypeVar("A")
T = TypeVar("T")
Offsets = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class TopicPlan:
    """A topic to create; `replication_factor` None is the cluster's own default."""

    topic: str
    partitions: int
    replication_factor: int | None
    configs: Mapping[str, str]


def find_topics(admin: ClusterAdmin, topics: Sequence[str]) -> Each[TopicInfo]:
    """A topic that does not exist is NotFound. Never creates one."""

    def ask(client: AdminClient, names: Sequence[str], left_s: float) -> Answers[TopicInfo]:
        found = client.describe_topics(TopicCollection(list(names)), request_timeout=left_s)
        return {name: _then(future.result, topic_info) for name, future in found.items()}

    return _in_parts(admin, topics, "describe topic", ask, "READ")


def configs_of(admin: ClusterAdmin, topics: Sequence[str]) -> Each[dict[str, TopicConfig]]:
    """As ClusterAdmin.topic_configs."""

    def ask(client: AdminClient, names: Sequence[str], left_s: float) -> Answers[dict[str, TopicConfig]]:
        resources = [ConfigResource(ResourceType.TOPIC, name) for name in names]
        found = client.describe_configs(resources, request_timeout=left_s)
        return {resource.name: _then(future.result, topic_configs) for resource, future in found.items()}

    return _in_parts(admin, topics, "read the configs of topic", ask, admin.reading_configs)


def stable_ends_of(admin: ClusterAdmin, partitions: Mapping[str, int]) -> Each[Offsets]:
    """The last stable offsets; `partitions` is how many each topic has."""
    return _offsets(admin, partitions, LATEST, IsolationLevel.READ_COMMITTED)


def log_ends_of(admin: ClusterAdmin, partitions: Mapping[str, int]) -> Each[Offsets]:
    return _offsets(admin, partitions, LATEST, IsolationLevel.READ_UNCOMMITTED)


def log_starts_of(admin: ClusterAdmin, partitions: Mapping[str, int]) -> Each[Offsets]:
    return _offsets(admin, partitions, EARLIEST, IsolationLevel.READ_UNCOMMITTED)


def offsets_at_of(admin: ClusterAdmin, partitions: Mapping[str, int], timestamp_ms: int) -> Each[Offsets]:
    """The first offset with this timestamp or a later one; -1 where there is none."""
    return _offsets(admin, partitions, OffsetSpec.for_timestamp(timestamp_ms), IsolationLevel.READ_COMMITTED)


def create_topics(admin: ClusterAdmin, plans: Sequence[TopicPlan], *, dry_run: bool = False) -> Each[None]:
    """A topic that exists is a Conflict. `dry_run` asks the cluster whether it would create them."""
    by_name = {plan.topic: plan for plan in plans}

    def ask(client: AdminClient, names: Sequence[str], left_s: float) -> Answers[None]:
        new = [_new_topic(by_name[name]) for name in names]
        found = client.create_topics(new, request_timeout=left_s, validate_only=dry_run)
        return {name: future.result for name, future in found.items()}

    answers: Each[None] = {}
    for names in _portions(by_name, lambda name: by_name[name].partitions + len(by_name[name].configs) + 1):
        answers |= admin.each(names, "create topic", ask, "CREATE")
    return answers


def alter_topics(admin: ClusterAdmin, configs: Mapping[str, Mapping[str, str | None]]) -> Each[None]:
    """By topic as ClusterAdmin.alter_topic."""

    def ask(client: AdminClient, names: Sequence[str], left_s: float) -> Answers[None]:
        resources = [alteration(name, configs[name]) for name in names]
        found = client.incremental_alter_configs(resources, request_timeout=left_s)
        return {resource.name: future.result for resource, future in found.items()}

    answers: Each[None] = {name: None for name, changes in configs.items() if not changes}
    for names in _portions([name for name in configs if configs[name]], lambda name: len(configs[name])):
        answers |= admin.each(names, "alter the configs of topic", ask, "ALTER_CONFIGS")
    return answers


def delete_records_of(admin: ClusterAdmin, before: Mapping[str, Mapping[int, int]]) -> Each[None]:
    """Moves log starts (by topic, partition to offset) by DeleteRecords."""

    def ask(client: AdminClient, names: Sequence[str], left_s: float) -> Answers[None]:
        places = [TopicPartition(name, number, offset) for name in names for number, offset in before[name].items()]
        found = client.delete_records(places, request_timeout=left_s)
        by_topic: dict[str, list[Callable[[], object]]] = {name: [] for name in names}
        for place, future in found.items():
            by_topic[place.topic].append(future.result)
        return {name: _all_done(futures) for name, futures in by_topic.items()}

    return _in_parts(admin, list(before), "delete the first records of topic", ask, "DELETE")


def _offsets(
    admin: ClusterAdmin, partitions: Mapping[str, int], spec: OffsetSpec, isolation: IsolationLevel
) -> Each[Offsets]:
    def ask(client: AdminClient, names: Sequence[str], left_s: float) -> Answers[Offsets]:
        wanted = {TopicPartition(name, number): spec for name in names for number in range(partitions[name])}
        found = client.list_offsets(wanted, isolation_level=isolation, request_timeout=left_s)
        by_topic: dict[str, dict[int, Callable[[], int]]] = {name: {} for name in names}
        for place, future in found.items():
            by_topic[place.topic][place.partition] = _then(future.result, lambda answer: int(answer.offset))
        return {name: _in_order(answers) for name, answers in by_topic.items()}

    answers: Each[Offsets] = {}
    for names in _portions(partitions, lambda name: partitions[name]):
        answers |= admin.each(names, "read the offsets of topic", ask, "READ")
    return answers


def _new_topic(plan: TopicPlan) -> NewTopic:
    factor = BROKER_DEFAULT if plan.replication_factor is None else plan.replication_factor
    return NewTopic(plan.topic, plan.partitions, factor, config=dict(plan.configs))


def _in_parts(
    admin: ClusterAdmin,
    topics: Sequence[str],
    doing: str,
    ask: Callable[[AdminClient, Sequence[str], float], Answers[T]],
    operation: str,
) -> Each[T]:
    answers: Each[T] = {}
    for names in _portions(dict.fromkeys(topics), lambda _: _WRITE_RECORDS // _READ):
        answers |= admin.each(names, doing, ask, operation)
    return answers


def _portions(topics: Iterable[str], weight: Callable[[str], int]) -> Iterator[list[str]]:
    """The topics in their order, as many at once as _WRITE_RECORDS weigh, and at least one."""
    portion: list[str] = []
    total = 0
    for topic in topics:
        heavy = weight(topic)
        if portion and total + heavy > _WRITE_RECORDS:
            yield portion
            portion, total = [], 0
        portion.append(topic)
        total += heavy
    if portion:
        yield portion


def _then(answer: Callable[[], A], make: Callable[[A], T]) -> Callable[[], T]:
    return lambda: make(answer())


def _all_done(answers: Sequence[Callable[[], object]]) -> Callable[[], None]:
    def wait() -> None:
        for answer in answers:
            answer()

    return wait


def _in_order(answers: Mapping[int, Callable[[], int]]) -> Callable[[], Offsets]:
    return lambda: tuple(answers[number]() for number in sorted(answers))
