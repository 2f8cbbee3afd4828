"""Least rights: with exactly what is printed the whole job is done, and whatever is missing is named."""

import json
from pathlib import Path

import pytest
from confluent_kafka.admin import AclBinding

from kmirror.ops.link_rights import GRANTED, MISSING, RightRow, look_at_rights
from kmirror.sandbox.secured import SecuredCluster
from kmirror.state.paths import Home
from support.acls import acls_of, bindings, grant, without
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
    for key, acl in granted.items():
        with without(clusters[key[0]], acl):
            told = eventually(lambda: missing(home, link.name), 20, f"{key} is missed", 0.3)
            (row,) = [row for row in told if (row.side, row.resource, row.operation) == key]
            assert acl in bindings(row.grant).values() or row.resource in {"TOPIC", "GROUP"}
            assert row.without
    said = link.kmirror.run("doctor", "--rights", "--link", link.name).stdout
    assert "DESCRIBE_CONFIGS" in said
    link.verb("promote", topic_name)
    link.await_status(topic_name, "STOPPED")
    link.compare(topic_name, at_least=60)
