"""Least rights: with exactly what is printed the whole job is done, and whatever is missing is named."""

import itertools
import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from confluent_kafka.admin import AclBinding

from kmirror.ops.link_rights import GRANTED, MISSING, RightRow, look_at_rights
from kmirror.sandbox.secured import SecuredCluster
from kmirror.state.paths import Home
from support.acls import acls_of, bindings, grant, suggested, without
from support.groups import committed
from support.kmirror_cli import Kmirror
from support.mirrors import add_partitions, set_topic_config, topic_configs
from support.secured import SecuredLink, commit_group, properties, write_properties
from support.traffic import Record, create_topic, produce, sized
from support.transactions import delete_records, transaction
from support.wait import eventually

EVERY_GROUP = json.dumps({"groupFilters": [{"name": "rights-", "patternType": "PREFIXED", "filterType": "INCLUDE"}]})


def acl_filters(topic: str) -> str:
    resource = {"resourceType": "topic", "patternType": "literal", "name": topic}
    access = {"operation": "any", "permissionType": "any"}
    return json.dumps({"aclFilters": [{"resourceFilter": resource, "accessFilter": access}]})


def missing(home: Home, link: str) -> list[RightRow]:
    return [row for row in look_at_rights(home, link) if row.state == MISSING]


class Ways:
    """By what a user learns of each right that is missing, be it a verb that is refused or what a runner shows."""

    def __init__(self, link: SecuredLink, topic: str, config: Path, group: str) -> None:
        self._link = link
        self._kmirror = link.kmirror
        self._topic = topic
        self._config = config
        self._group = group
        self._others = itertools.count(2)

    def await_told(self, key: tuple[str, str, str], acl: AclBinding) -> None:
        """Waits until the command that grants exactly this is shown."""
        side = self._link.source if key[0] == "source" else self._link.destination
        ask = self._ways()[key]()
        told: list[str] = []

        def is_told() -> bool:
            told[:] = [ask()]
            found = suggested(told[0], side.servers("SASL_SSL"))
            return any(
                (a.restype, a.operation, a.principal) == (acl.restype, acl.operation, acl.principal) for a in found
            )

        eventually(is_told, 40, lambda: f"{key} is told, with what grants it: {told}\n{self._link.log()}", 0.3)

    def _ways(self) -> Mapping[tuple[str, str, str], Callable[[], Callable[[], str]]]:
        return {
            ("source", "TOPIC", "READ"): self._refused_mirror,
            ("source", "TOPIC", "DESCRIBE_CONFIGS"): self._refused_mirror,
            ("source", "GROUP", "DESCRIBE"): self._tasks,
            ("source", "CLUSTER", "DESCRIBE"): self._tasks,
            ("destination", "TOPIC", "CREATE"): self._refused_mirror,
            ("destination", "TOPIC", "WRITE"): self._described_after_a_record,
            ("destination", "TOPIC", "READ"): self._described_after_a_start,
            ("destination", "TOPIC", "ALTER_CONFIGS"): self._tasks,
            ("destination", "TOPIC", "ALTER"): self._tasks_after_growth,
            ("destination", "TOPIC", "DELETE"): self._mirror_that_begins_late,
            ("destination", "TRANSACTIONAL_ID", "WRITE"): self._refused_link,
            ("destination", "CLUSTER", "ALTER"): self._refused_guard,
            ("destination", "GROUP", "READ"): self._tasks_after_a_commit,
        }

    def _tasks(self) -> Callable[[], str]:
        return lambda: self._kmirror.run("link", "task", "list", self._link.name, "-o", "json").stdout

    def _described(self) -> Callable[[], str]:
        return lambda: self._kmirror.run("mirror", "describe", self._topic, "--link", self._link.name).stdout

    def _fails(self, *words: str) -> Callable[[], str]:
        """A refusal comes as soon as the brokers know that the right is gone."""
        return lambda: self._kmirror.run(*words, check=False).stderr

    def _refused_mirror(self) -> Callable[[], str]:
        return self._fails("mirror", "create", self._other(), "--link", self._link.name, "--dry-run")

    def _refused_guard(self) -> Callable[[], str]:
        return self._fails("mirror", "create", self._other(), "--link", self._link.name, "--guard", "--dry-run")

    def _refused_link(self) -> Callable[[], str]:
        return self._fails(
            *("link", "create", self._link.name + "-2", "--config", str(self._config)),
            *("--config", "gap.fill.mode=transactions", "--dry-run"),
        )

    def _mirror_that_begins_late(self) -> Callable[[], str]:
        topic = self._other()
        produce(self._link.source.bootstrap_servers, topic, sized(5))
        delete_records(self._link.source.bootstrap_servers, topic, {0: 3})
        return self._fails("mirror", "create", topic, "--link", self._link.name)

    def _other(self) -> str:
        topic = f"{self._topic}-{next(self._others)}"
        create_topic(self._link.source.bootstrap_servers, topic)
        return topic

    def _described_after_a_record(self) -> Callable[[], str]:
        produce(self._link.source.bootstrap_servers, self._topic, [Record(b"k", b"v")])
        return self._described()

    def _described_after_a_start(self) -> Callable[[], str]:
        self._link.stop()
        self._link.start()
        return self._described()

    def _tasks_after_growth(self) -> Callable[[], str]:
        add_partitions(self._link.source, self._topic, 3)
        return self._tasks()

    def _tasks_after_a_commit(self) -> Callable[[], str]:
        commit_group(self._link.source, self._group, self._topic, 9)
        return self._tasks()


@pytest.fixture
def link(kmirror: Kmirror, guarded_east: SecuredCluster, guarded_west: SecuredCluster) -> SecuredLink:
    return SecuredLink(kmirror, guarded_east, guarded_west, "rights")


def test_the_rights_that_are_printed_are_enough_and_each_is_needed(
    link: SecuredLink, tmp_path: Path, topic_name: str
) -> None:
    clusters = {"source": link.source, "destination": link.destination}
    sides = [properties(cluster, tmp_path / "secrets") for cluster in clusters.values()]
    config = write_properties(tmp_path / "rights.properties", *sides)
    with config.open("a") as file:
        file.write("consumer.offset.sync.enable=true\nconsumer.offset.sync.ms=1000\ntopic.config.sync.ms=1000\n")
        file.write(f"acl.sync.enable=true\nacl.sync.ms=1000\nacl.filters={acl_filters(topic_name)}\n")
        file.write(f"metadata.max.age.ms=500\nconsumer.offset.group.filters={EVERY_GROUP}\n")
    east = link.source.bootstrap_servers
    create_topic(east, topic_name, 1)
    produce(east, topic_name, sized(50))
    delete_records(east, topic_name, {0: 5})

    printed = link.kmirror.run("link", "create", link.name, "--config", str(config), "--print-acls").stdout.splitlines()
    granted: dict[tuple[str, str, str], AclBinding] = {}
    side = ""
    for line in printed:
        side = line.removeprefix("# at the ") if line.startswith("#") else side
        if not line.startswith("#"):
            granted |= {(side, *key): acl for key, acl in bindings(line).items()}
    for side, cluster in clusters.items():
        grant(cluster, [acl for key, acl in granted.items() if key[0] == side])

    link.kmirror.run("link", "create", link.name, "--config", str(config))
    link.mirror(topic_name)
    transaction(east, topic_name, [Record(b"k", b"aborted")] * 5, commit=False)
    add_partitions(link.source, topic_name, 2)
    produce(east, topic_name, [Record(b"k", b"v", partition=1)] * 20)
    set_topic_config(link.source, topic_name, "retention.ms", "123456789")
    group = f"rights-{topic_name}"
    commit_group(link.source, group, topic_name, 7)
    grant(
        link.source,
        bindings(f"kafka-acls.sh --add --allow-principal User:app --operation Read --topic {topic_name}").values(),
    )
    link.assert_exact(topic_name, at_least=60)
    eventually(lambda: acls_of(link.destination, "User:app"), 30, "ACLs follow")
    eventually(lambda: topic_configs(link.destination, topic_name)["retention.ms"] == "123456789", 30, "configs follow")
    eventually(lambda: committed(link.destination, group, topic_name).get(0) == 7, 30, "offsets follow")

    home = Home(link.kmirror.home, link.kmirror.home / "run")
    held = look_at_rights(home, link.name)
    assert {row.state for row in held} == {GRANTED}, held
    assert {(row.side, row.resource, row.operation) for row in held} == granted.keys()
    ways = Ways(link, topic_name, config, group)
    for key, acl in granted.items():
        with without(clusters[key[0]], acl):
            ways.await_told(key, acl)
            told = eventually(lambda: missing(home, link.name), 20, f"{key} is missed", 0.3)
            (row,) = [row for row in told if (row.side, row.resource, row.operation) == key]
            assert acl in bindings(row.grant).values() or row.resource in {"TOPIC", "GROUP"}
            assert row.without
    assert acls_of(link.destination, "User:app")  # who may not read ACLs is not told that there are none
    said = link.kmirror.run("doctor", "--rights", "--link", link.name).stdout
    assert "DESCRIBE_CONFIGS" in said
    link.verb("promote", topic_name)
    link.await_status(topic_name, "STOPPED")
    link.compare(topic_name, at_least=60)
