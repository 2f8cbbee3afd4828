"""The two clusters of a run, and the topics that come and go on them."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewTopic, ResourceType

from bench.segments import data_directory
from kmirror.sandbox import KafkaCluster, KafkaRuntime, kafka_runtime

VERSION: Final = "4.3.1"
PROPERTIES: Final = {
    "log.segment.delete.delay.ms": "1000",  # a copy goes before the next one comes
    "log.retention.check.interval.ms": "300000",
    "log.cleaner.backoff.ms": "1000",  # compacted logs are looked at each second
}
_WAIT_S: Final = 60


@dataclass(frozen=True, slots=True)
class Stage:
    directory: Path
    runtime: KafkaRuntime
    source: KafkaCluster
    destination: KafkaCluster

    def create(self, cluster: KafkaCluster, topic: str, partitions: int) -> None:
        """Returns when the broker has made the logs."""
        admin = _admin(cluster)
        new = NewTopic(topic, num_partitions=partitions, replication_factor=1, config={"retention.ms": "-1"})
        for created in admin.create_topics([new]).values():
            created.result(_WAIT_S)
        self.await_logs(cluster, topic, partitions)

    def await_logs(self, cluster: KafkaCluster, topic: str, partitions: int) -> None:
        """Returns when the broker has made the logs of a topic: thousands take it long, and nobody shall pay for it."""
        logs = [data_directory(cluster) / f"{topic}-{partition}" for partition in range(partitions)]
        _until(lambda: all(log.exists() for log in logs), f"the logs of {topic}")

    def configure(self, cluster: KafkaCluster, topic: str, configs: Mapping[str, str]) -> None:
        entries = [
            ConfigEntry(key, value, incremental_operation=AlterConfigOpType.SET) for key, value in configs.items()
        ]
        resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=entries)
        admin = _admin(cluster)
        for changed in admin.incremental_alter_configs([resource]).values():
            changed.result(_WAIT_S)

    def clear(self, keep: str | None = None) -> None:
        """Deletes all topics but Kafka's own, and but those that begin with `keep` at the source."""
        for cluster, kept in ((self.source, keep), (self.destination, None)):
            admin = _admin(cluster)
            topics = admin.list_topics(timeout=_WAIT_S).topics
            gone = [topic for topic in topics if not topic.startswith("__") and not (kept and topic.startswith(kept))]
            for deleted in admin.delete_topics(gone).values() if gone else ():
                deleted.result(_WAIT_S)
            data = data_directory(cluster)
            _until(
                lambda gone=gone, data=data: not any(_logs(data, topic) for topic in gone), "the deletion of old topics"
            )


@contextmanager
def stage(directory: Path) -> Iterator[Stage]:
    """Starts both clusters in `directory`, and stops them."""
    runtime = kafka_runtime(VERSION, connect_mirror=True, say=print)
    source = KafkaCluster("source", directory / "source", runtime, properties=PROPERTIES, java_options=())
    destination = KafkaCluster(
        "destination", directory / "destination", runtime, properties=PROPERTIES, java_options=()
    )
    with source, destination:
        yield Stage(directory, runtime, source, destination)


def _admin(cluster: KafkaCluster) -> AdminClient:
    return AdminClient({"bootstrap.servers": cluster.bootstrap_servers})


def _logs(data: Path, topic: str) -> list[Path]:
    """The folders of a topic; one that is being deleted is `<topic>-<partition>.<id>-delete`."""
    return [path for path in data.glob(f"{topic}-*") if path.name.removeprefix(f"{topic}-")[:1].isdigit()]


def _until(holds, what: str) -> None:
    deadline = time.monotonic() + _WAIT_S
    while not holds():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {_WAIT_S} s in vain for {what}")
        time.sleep(0.05)
