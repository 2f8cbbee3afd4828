"""One cluster's control plane as plain values: ids, topics, configs, offsets."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, TypeVar

from confluent_kafka import IsolationLevel, KafkaError, KafkaException, TopicCollection, TopicPartition, Uuid
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # its own names, not marked as exported
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ConfigSource,
    NewPartitions,
    NewTopic,
    OffsetSpec,
    ResourceType,
    TopicDescription,
)

from kmirror.admin.failures import NO_LEADERS, PASSING, SILENT, error_of, translated
from kmirror.admin.kept_client import KeptClient
from kmirror.errors import AuthorizationFailed, KmirrorError, NotFound, NotReached
from kmirror.model.access import Access
from kmirror.model.rights import SOURCE, Need

TIMEOUT_S: Final = 10.0
"""Of any call: people wait for the answer, and a cluster that needs longer is in trouble."""
_PAUSE_S: Final = 0.2  # between two tries, while leaders move
BROKER_DEFAULT: Final = -1  # CreateTopics v4+: the cluster's own default.replication.factor

LATEST: Final = OffsetSpec.latest()  # type: ignore[no-untyped-call]
EARLIEST: Final = OffsetSpec.earliest()  # type: ignore[no-untyped-call]

K = TypeVar("K")
T = TypeVar("T")

Answers = Mapping[str, Callable[[], T]]
"""By topic, what waits for its answer; raises KafkaException."""


class Origin(StrEnum):
    """Where a topic's config comes from."""

    TOPIC = "topic"
    BROKER = "broker"
    KAFKA = "kafka"
    """The default that is built into Kafka."""


@dataclass(frozen=True, slots=True)
class TopicConfig:
    value: str
    origin: Origin


@dataclass(frozen=True, slots=True)
class TopicInfo:
    """`leaders` are broker ids by partition, None where there is none now; `topic_id` is Kafka's text of it."""

    topic: str
    topic_id: str
    leaders: tuple[int | None, ...]
    replication_factor: int

    @property
    def partitions(self) -> int:
        return len(self.leaders)


class ClusterAdmin:
    """Asks one cluster. All methods block up to 10 s and raise KmirrorError.

    `side` ("source" or "destination") is how errors name the cluster.
    """

    def __init__(self, access: Access, side: str, *, timeout_s: float = TIMEOUT_S) -> None:
        self._access = access
        self._side = side
        self._timeout_s = timeout_s
        self._kept = KeptClient(access, timeout_s)

    def cluster_id(self) -> str:
        def ask(left_s: float) -> str:
            found = self.client.describe_cluster(request_timeout=left_s).result()
            return str(found.cluster_id)

        return self._call("read the cluster id", ask)

    def topics(self) -> list[str]:
        """The names of all topics that this principal may see."""
        return self._call("list the topics", lambda left_s: sorted(self.client.list_topics(timeout=left_s).topics))

    def find_topic(self, topic: str) -> TopicInfo | None:
        try:
            return self.topic(topic)
        except NotFound:
            return None

    def topic(self, topic: str) -> TopicInfo:
        """Raises NotFound. Never creates it."""

        def ask(left_s: float) -> TopicInfo:
            found = self.client.describe_topics(TopicCollection([topic]), request_timeout=left_s)[topic].result()
            return topic_info(found)

        return self._call(f'describe topic "{topic}"', ask, Need("TOPIC", "READ", topic))

    def await_topic(self, topic: str) -> TopicInfo:
        """The topic just created: brokers learn of it one after the other."""
        deadline = time.monotonic() + self._timeout_s
        while (found := self.find_topic(topic)) is None or None in found.leaders:
            if time.monotonic() > deadline:
                return self.topic(topic)
            time.sleep(_PAUSE_S)
        return found

    def topic_configs(self, topic: str) -> dict[str, TopicConfig]:
        """Every config of the topic with its effective value, but for sensitive ones, which brokers don't tell."""

        def ask(left_s: float) -> dict[str, TopicConfig]:
            resource = ConfigResource(ResourceType.TOPIC, topic)
            answers = self.client.describe_configs([resource], request_timeout=left_s)
            return topic_configs(_only(answers).result())

        return self._call(f'read the configs of topic "{topic}"', ask, Need("TOPIC", self.reading_configs, topic))

    def default_replication_factor(self) -> int | None:
        """What a topic gets for which none is given; None where this principal may not see it."""
        try:
            value = self.broker_configs()["default.replication.factor"]
        except AuthorizationFailed:
            return None
        return int(value) if value else None

    def broker_configs(self) -> dict[str, str | None]:
        """Of one broker; None: it is set, and not told. Raises AuthorizationFailed where we may not see them."""

        def ask(left_s: float) -> dict[str, str | None]:
            brokers = self.client.list_topics(timeout=left_s).brokers
            resource = ConfigResource(ResourceType.BROKER, str(min(brokers)))
            entries = _only(self.client.describe_configs([resource], request_timeout=left_s)).result()
            return {name: None if entry.value is None else str(entry.value) for name, entry in entries.items()}

        return self._call("read the configs of a broker", ask)

    def create_topic(
        self, topic: str, partitions: int, replication_factor: int | None, configs: Mapping[str, str]
    ) -> None:
        """`replication_factor` None is the cluster's own default. Raises Conflict where the topic exists."""
        factor = BROKER_DEFAULT if replication_factor is None else replication_factor
        new = NewTopic(topic, num_partitions=partitions, replication_factor=factor, config=dict(configs))
        self._call(
            f'create topic "{topic}"',
            lambda left_s: _only(self.client.create_topics([new], request_timeout=left_s)).result(),
            Need("TOPIC", "CREATE", topic),
        )

    def delete_topic(self, topic: str) -> None:
        """Returns when no broker that is asked knows it any more; raises NotFound, NotReached where that takes long."""
        self._call(
            f'delete topic "{topic}"',
            lambda left_s: _only(
                self.client.delete_topics([topic], operation_timeout=left_s, request_timeout=left_s)
            ).result(),
            Need("TOPIC", "DELETE", topic),
        )
        deadline = time.monotonic() + self._timeout_s
        while self.find_topic(topic) is not None:
            if time.monotonic() > deadline:
                raise NotReached(f'topic "{topic}" is still there {self._timeout_s:g} s after it was deleted')
            time.sleep(_PAUSE_S)

    def grow_topic(self, topic: str, partitions: int) -> None:
        """Adds partitions up to this number of them."""
        self._call(
            f'add partitions to topic "{topic}"',
            lambda left_s: _only(
                self.client.create_partitions([NewPartitions(topic, partitions)], request_timeout=left_s)
            ).result(),
            Need("TOPIC", "ALTER", topic),
        )

    def alter_topic(self, topic: str, configs: Mapping[str, str | None]) -> None:
        """Sets these configs and no other; None takes the topic's own value away."""
        if not configs:
            return
        resource = alteration(topic, configs)
        self._call(
            f'alter the configs of topic "{topic}"',
            lambda left_s: _only(self.client.incremental_alter_configs([resource], request_timeout=left_s)).result(),
            Need("TOPIC", "ALTER_CONFIGS", topic),
        )

    def stable_ends(self, topic: str, partitions: int) -> tuple[int, ...]:
        """The last stable offsets: everything below is decided, no transaction is open there."""
        return self._offsets(topic, partitions, LATEST, IsolationLevel.READ_COMMITTED)

    def log_ends(self, topic: str, partitions: int) -> tuple[int, ...]:
        return self._offsets(topic, partitions, LATEST, IsolationLevel.READ_UNCOMMITTED)

    def log_starts(self, topic: str, partitions: int) -> tuple[int, ...]:
        return self._offsets(topic, partitions, EARLIEST, IsolationLevel.READ_UNCOMMITTED)

    def offsets_at(self, topic: str, partitions: int, timestamp_ms: int) -> tuple[int, ...]:
        """The first offset with this timestamp or a later one; -1 where there is none."""
        return self._offsets(topic, partitions, OffsetSpec.for_timestamp(timestamp_ms), IsolationLevel.READ_COMMITTED)

    def delete_records(self, topic: str, before: Mapping[int, int]) -> None:
        """Moves log starts (partition to offset) by DeleteRecords."""
        places = [TopicPartition(topic, partition, offset) for partition, offset in before.items()]

        def ask(left_s: float) -> None:
            for answer in self.client.delete_records(places, request_timeout=left_s).values():
                answer.result()

        self._call(f'delete the first records of topic "{topic}"', ask, Need("TOPIC", "DELETE", topic))

    def _offsets(self, topic: str, partitions: int, spec: OffsetSpec, isolation: IsolationLevel) -> tuple[int, ...]:
        def ask(left_s: float) -> tuple[int, ...]:
            wanted = {TopicPartition(topic, number): spec for number in range(partitions)}
            answers = self.client.list_offsets(wanted, isolation_level=isolation, request_timeout=left_s)
            offsets = {place.partition: answer.result().offset for place, answer in answers.items()}
            return tuple(offsets[number] for number in range(partitions))

        return self._call(f'read the offsets of topic "{topic}"', ask, Need("TOPIC", "READ", topic))

    def each(
        self,
        topics: Sequence[str],
        doing: str,
        ask: Callable[[AdminClient, Sequence[str], float], Answers[T]],
        operation: str,
    ) -> dict[str, T | KmirrorError]:
        """What one request says of each of several topics: a value, or the error of that topic alone. Raises nothing.

        `ask` gets the topics and the seconds that are left; it is asked again for those whose leaders move. `doing` is
        the verb in the words of an error: "describe topic", `operation` the right on each topic that it takes.
        """
        deadline = time.monotonic() + self._timeout_s
        found: dict[str, T | KmirrorError] = {}
        waiting = list(topics)
        while waiting:
            client, silent = self._kept.client, False
            answers = ask(client, waiting, max(0.1, deadline - time.monotonic()))
            again: dict[str, KafkaError] = {}
            for topic, answer in answers.items():
                try:
                    found[topic] = answer()
                except KafkaException as failure:
                    error = error_of(failure)
                    if _may_pass(error, deadline):
                        again[topic] = error
                    else:
                        found[topic] = self._words(error, f'{doing} "{topic}"', Need("TOPIC", operation, topic))
                        silent = silent or error.code() in SILENT
            if silent:
                self._kept.renew(client)
            if again:
                unknown = self._look_again(again, deadline)
                found |= {topic: self._words(error, f'{doing} "{topic}"') for topic, error in unknown.items()}
            waiting = [topic for topic in again if topic not in found]
        return found

    @property
    def reading_configs(self) -> str:
        """The right of the table by which a link may read the configs of topics of this side."""
        return "DESCRIBE_CONFIGS" if self._side == SOURCE else "ALTER_CONFIGS"

    def _call(self, doing: str, ask: Callable[[float], T], need: Need | None = None, topics: Iterable[str] = ()) -> T:
        """`ask` with the seconds that are left, again while leaders move; its errors in kmirror's words."""
        deadline = time.monotonic() + self._timeout_s
        while True:
            client = self._kept.client
            try:
                return ask(max(0.1, deadline - time.monotonic()))
            except KafkaException as failure:
                error = error_of(failure)
                if not _may_pass(error, deadline):
                    told = self._words(error, doing, need)
                    if error.code() in SILENT:
                        self._kept.renew(client)
                    raise told from failure
                named = topics or ([need.name] if need and need.resource == "TOPIC" else [])
                for unknown in self._look_again(dict.fromkeys(named, error), deadline).values():
                    raise self._words(unknown, doing) from failure

    def _look_again(self, refused: Mapping[str, KafkaError], deadline: float) -> dict[str, KafkaError]:
        """Before another try the client learns who leads these topics now, or which brokers there are.

        It goes by what it has learned for minutes, also after brokers refused it for that. Not by `list_topics(topic)`,
        by which a broker would create one that does not exist. Returns those for which there is no leader to wait for.
        """
        time.sleep(_PAUSE_S)
        left_s = max(0.1, deadline - time.monotonic())
        if not refused:
            self.client.describe_cluster(request_timeout=left_s).exception()  # waits; the next try tells what is wrong
            return {}
        described = self.client.describe_topics(TopicCollection(list(refused)), request_timeout=left_s)
        failures = {topic: answer.exception() for topic, answer in described.items()}
        errors = {topic: error_of(e) for topic, e in failures.items() if isinstance(e, KafkaException)}
        leaderless = {topic for topic, error in refused.items() if error.code() == NO_LEADERS}
        unknown = KafkaError.UNKNOWN_TOPIC_OR_PART
        return {topic: error for topic, error in errors.items() if topic in leaderless and error.code() == unknown}

    # --- for the modules beside this one, that ask the same cluster for other things

    @property
    def client(self) -> AdminClient:
        """To be taken anew for each request: one that has no answer is replaced."""
        return self._kept.client

    def renew(self, client: AdminClient) -> None:
        """Where it had no answer to what was not asked by `call` or `each`."""
        self._kept.renew(client)

    @property
    def access(self) -> Access:
        return self._access

    @property
    def side(self) -> str:
        return self._side

    @property
    def timeout_s(self) -> float:
        return self._timeout_s

    def call(self, doing: str, ask: Callable[[float], T], need: Need | None = None, topics: Iterable[str] = ()) -> T:
        """As all methods do it: `ask` with the seconds that are left, its errors in kmirror's words.

        `topics` are those that it asks for, where `need` does not name the one.
        """
        return self._call(doing, ask, need, topics)

    def refusal(self, error: KafkaError, doing: str, need: Need | None = None) -> KmirrorError:
        return self._words(error, doing, need)

    def _words(self, error: KafkaError, doing: str, need: Need | None = None) -> KmirrorError:
        if error.code() in SILENT:
            error = self._kept.noted() or error
        return translated(error, doing=doing, side=self._side, access=self._access, need=need)


def _may_pass(error: KafkaError, deadline: float) -> bool:
    """Before `deadline`, and time for another try is left."""
    return error.code() in {*PASSING, NO_LEADERS} and time.monotonic() + _PAUSE_S < deadline


def _only(answers: Mapping[K, "Future[T]"]) -> "Future[T]":
    (answer,) = answers.values()
    return answer


def topic_info(found: TopicDescription) -> TopicInfo:
    partitions = sorted(found.partitions, key=lambda p: p.id)
    leaders = tuple(p.leader.id if p.leader and p.leader.id >= 0 else None for p in partitions)
    return TopicInfo(found.name, _id_text(found.topic_id), leaders, max(len(p.replicas) for p in partitions))


def topic_configs(entries: Mapping[str, ConfigEntry]) -> dict[str, TopicConfig]:
    return {name: TopicConfig(e.value, _origin(e)) for name, e in entries.items() if e.value is not None}


def alteration(topic: str, configs: Mapping[str, str | None]) -> ConfigResource:
    """A change of these configs and no other; None takes the topic's own value away."""
    entries = [
        ConfigEntry(
            name,
            value,
            incremental_operation=AlterConfigOpType.DELETE if value is None else AlterConfigOpType.SET,
        )
        for name, value in configs.items()
    ]
    return ConfigResource(ResourceType.TOPIC, topic, incremental_configs=entries)


def _id_text(topic_id: Uuid) -> str:
    # Java writes URL-safe base64; librdkafka has had both alphabets.
    return str(topic_id).rstrip("=").replace("+", "-").replace("/", "_")


def _origin(entry: ConfigEntry) -> Origin:
    source = ConfigSource(entry.source)
    if source is ConfigSource.DYNAMIC_TOPIC_CONFIG:
        return Origin.TOPIC
    return Origin.KAFKA if source is ConfigSource.DEFAULT_CONFIG else Origin.BROKER
