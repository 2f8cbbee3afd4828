"""A link driven by the real command line, and waiting until its mirrors are where a test wants them.

What the command line says is waited for; whether a mirror is right is for the oracle alone to say.
"""

import os
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicCollection, TopicPartition, TopicPartitionInfo
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    ResourceType,
)

from kmirror.sandbox import KafkaCluster
from support import logs, oracle
from support.kmirror_cli import Kmirror
from support.wait import eventually

LOG_SHOWN = 3_000
"""Characters of the runner's log in the report of a failure."""

QUICK = "metadata.max.age.ms=500"
"""Changes of topics are seen soon."""


@dataclass
class TestLink:
    """A link from `source` to `destination` in the home of `kmirror`."""

    __test__ = False

    kmirror: Kmirror
    source: KafkaCluster
    destination: KafkaCluster
    name: str = "east-west"

    def create(self, *configs: str) -> "TestLink":
        """A cluster that has a proxy is reached through it."""
        source, destination = (
            getattr(cluster, "proxied_servers", cluster.bootstrap_servers)
            for cluster in (self.source, self.destination)
        )
        self.kmirror.run(
            *("link", "create", self.name),
            *("--source-bootstrap-server", source),
            *("--destination-bootstrap-server", destination),
            *("--config", ",".join([QUICK, *configs])),
        )
        return self

    def mirror(self, topic: str, *options: str) -> None:
        self.kmirror.run("mirror", "create", topic, "--link", self.name, *options)

    def verb(self, verb: str, *topics: str, options: tuple[str, ...] = ()) -> list[dict[str, Any]]:
        """`mirror promote` and its like; one row a partition."""
        return self.kmirror.json("mirror", verb, *topics, "--link", self.name, *options, timeout=90)

    def start(self) -> int:
        self.kmirror.run("link", "start", self.name)
        return self.pid

    def stop(self) -> None:
        self.kmirror.run("link", "stop", self.name)

    @property
    def pid(self) -> int:
        """Of the runner, which must run."""
        pid = self.kmirror.runner_pid(self.name)
        assert pid is not None, f"no runner\n{self.log()}"
        return pid

    def kill(self) -> None:
        """SIGKILL to the runner; returns when it is gone."""
        pid = self.pid
        os.kill(pid, signal.SIGKILL)
        eventually(lambda: self.kmirror.runner_pid(self.name) is None, 10, "the killed runner is gone")
        eventually(lambda: self.kmirror.lock_is_free(self.name), 10, "its lock is free")

    # --- what is shown

    def describe(self, topic: str) -> list[dict[str, Any]]:
        return self.kmirror.json("mirror", "describe", topic, "--link", self.name)

    def status(self, topic: str) -> str:
        return self.describe(topic)[0]["mirror_status"]

    def await_shown(
        self, topic: str, wanted: Callable[[list[dict[str, Any]]], bool], what: str, timeout: float = 40
    ) -> list[dict[str, Any]]:
        """Waits until `mirror describe` shows it; returns the rows."""
        rows: list[dict[str, Any]] = []

        def look() -> bool:
            rows[:] = self.describe(topic)
            return wanted(rows)

        eventually(look, timeout, lambda: f'"{topic}" {what}\n{rows}\n{self.log()}', 0.2)
        return rows

    def await_status(self, topic: str, status: str, timeout: float = 40) -> list[dict[str, Any]]:
        return self.await_shown(topic, lambda rows: rows[0]["mirror_status"] == status, f"is {status}", timeout)

    def await_failed(self, topic: str, code: str, *, partition: int | None = 0, offset: int | None = None) -> str:
        """Waits for FAILED; its code, topic, partition and offset must be told. Returns the message."""
        row = self.await_status(topic, "FAILED")[0]
        said = row["mirror_topic_error_message"]
        assert row["mirror_topic_error"] == code, said
        assert row["mirror_topic_name"] == topic
        if offset is not None:
            assert said.startswith(f"partition {partition} offset {offset}: "), said
        return said

    def log(self) -> str:
        path = self.kmirror.runtime(self.name) / "kmirror.log"
        text = path.read_text(errors="replace") if path.exists() else "(no log)"
        return f"--- kmirror.log ---\n{text[-LOG_SHOWN:]}"

    # --- what is there

    def mirror_ends(self, topic: str) -> dict[int, int]:
        return ends(self.destination, topic)

    def await_beyond(self, topic: str, before: Mapping[int, int], timeout: float = 60) -> dict[int, int]:
        """Waits until each of these partitions of the mirror has grown; returns where they end now."""

        asked = log_of(self.destination, topic, timeout)

        def grown() -> dict[int, int] | None:
            now = ends_of(asked)
            return now if all(now[p] > end for p, end in before.items()) else None

        return eventually(grown, timeout, lambda: f'"{topic}" goes on\n{self.log()}', 0.1)

    def await_caught_up(self, topic: str, source_topic: str | None = None, timeout: float = 60) -> None:
        """Waits until the mirror ends where its source does."""
        wanted = ends(self.source, source_topic or topic)
        asked = log_of(self.destination, topic, timeout)
        found: dict[int, int] = {}

        def reached() -> bool:
            found.clear()
            found.update(ends_of(asked))
            return all(found.get(p, -1) >= end for p, end in wanted.items())

        eventually(reached, timeout, lambda: f'"{topic}" ends at {found}, its source at {wanted}\n{self.log()}', 0.1)

    def assert_exact(self, topic: str, source_topic: str | None = None, *, at_least: int = 1, **options: Any) -> int:
        """The mirror catches up, and the oracle finds no difference; returns how many records it compared."""
        self.await_caught_up(topic, source_topic)
        return self.compare(topic, source_topic, at_least=at_least, **options)

    def compare(self, topic: str, source_topic: str | None = None, **options: Any) -> int:
        try:
            return oracle.assert_same(
                self.source.bootstrap_servers,
                self.destination.bootstrap_servers,
                source_topic or topic,
                topic,
                **options,
            )
        except AssertionError as error:
            error.add_note(self.log())
            raise


def log_of(cluster: KafkaCluster, topic: str, timeout: float) -> logs.Topic:
    """To be asked for its ends, as often as one likes within this time."""
    return logs.Topic(cluster.bootstrap_servers, topic, time.monotonic() + timeout)


def ends(cluster: KafkaCluster, topic: str, timeout: float = 20) -> dict[int, int]:
    """Last stable offsets by partition; empty if there is no such topic. Brokers that come back are waited for."""
    return ends_of(log_of(cluster, topic, timeout))


def ends_of(asked: logs.Topic) -> dict[int, int]:
    while True:
        try:
            # Anew each time: a client that has seen the controller die may wait for it until the end.
            return logs.Topic(asked.bootstrap, asked.name, asked.deadline).stable_ends()
        except KafkaException as error:
            # "No leaders found" is _NOENT; a leader that comes back may know less than the one that was asked first.
            passing = {KafkaError._NOENT, KafkaError.UNKNOWN_LEADER_EPOCH, KafkaError.FENCED_LEADER_EPOCH}
            passing |= {KafkaError.OFFSET_NOT_AVAILABLE, KafkaError.NOT_LEADER_FOR_PARTITION}
            if error.args[0].code() not in passing or time.monotonic() > asked.deadline:
                raise
            time.sleep(0.1)


def admin(cluster: KafkaCluster) -> AdminClient:
    return AdminClient({"bootstrap.servers": cluster.bootstrap_servers, "log_level": 2, **logs.CONNECTED})


def add_partitions(cluster: KafkaCluster, topic: str, total: int) -> None:
    """Returns when they are known: a producer that hears of fewer refuses records for the others."""
    client = admin(cluster)  # has to outlive its answer
    client.create_partitions([NewPartitions(topic, total)])[topic].result(20)

    def known() -> bool:
        return len(client.list_topics(timeout=10).topics[topic].partitions) >= total

    eventually(known, 20, f'"{topic}" has {total} partitions')


def delete_topic(cluster: KafkaCluster, topic: str) -> None:
    """Returns when no broker knows it any more."""
    client = admin(cluster)
    client.delete_topics([topic], operation_timeout=20)[topic].result(20)
    eventually(lambda: topic not in client.list_topics(timeout=10).topics, 20, f'"{topic}" is deleted')


def end_of(cluster: KafkaCluster, topic: str, partition: int, timeout: float = 10) -> int:
    """Where one partition ends: its leader alone is asked."""
    consumer = Consumer({"bootstrap.servers": cluster.bootstrap_servers, "group.id": "unused", "log_level": 2})
    try:
        return int(consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout)[1])
    finally:
        consumer.close()


def leaders(cluster: KafkaCluster, topic: str) -> dict[int, int]:
    return {p.id: p.leader.id if p.leader else -1 for p in _partitions(cluster, topic)}


def in_sync(cluster: KafkaCluster, topic: str) -> dict[int, int]:
    """How many replicas of each partition are in sync."""
    return {p.id: len(p.isr) for p in _partitions(cluster, topic)}


def _partitions(cluster: KafkaCluster, topic: str) -> list[TopicPartitionInfo]:
    """A client that asks a broker which is just gone would wait for it all of its time: the next one asks another."""

    def described() -> list[TopicPartitionInfo]:
        client = admin(cluster)
        (answer,) = client.describe_topics(TopicCollection([topic]), request_timeout=3).values()
        return answer.result(4).partitions

    return eventually(described, 60, f'"{topic}" is described', 0.2)


def topic_configs(cluster: KafkaCluster, topic: str) -> dict[str, str]:
    """All effective configs of a topic."""
    resource = ConfigResource(ResourceType.TOPIC, topic)
    client = admin(cluster)
    (described,) = client.describe_configs([resource]).values()
    return {name: entry.value for name, entry in described.result(20).items()}


def set_topic_config(cluster: KafkaCluster, topic: str, name: str, value: str) -> None:
    entry = ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
    client = admin(cluster)
    (altered,) = client.incremental_alter_configs([resource]).values()
    altered.result(20)
