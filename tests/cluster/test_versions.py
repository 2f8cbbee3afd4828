"""Secured sources of every release line that is in the field, with least rights there; the destination is of today."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from kmirror.sandbox import kafka_runtime
from kmirror.sandbox.secured import SecuredCluster
from support.acls import bindings, grant
from support.kmirror_cli import Kmirror
from support.secured import SecuredLink, properties, write_properties
from support.short_lived import short_lived
from support.traffic import Record, create_topic, produce, sized
from support.transactions import transaction

SOURCES = (("3.6.2", "MTLS"), ("3.9.2", "SASL_SSL"), ("4.0.1", "SASL_SSL"))
"""SASL of 3.6 needs a Java of its time: what Kafka calls there Java 24 has no more (KIP-1006)."""


@pytest.fixture(params=SOURCES, ids="-".join)
def source(
    nothing_left_behind: None, request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[tuple[SecuredCluster, str]]:
    version, listener = request.param
    with short_lived(SecuredCluster(f"east-{version}", tmp_path / "east", kafka_runtime(version))) as cluster:
        yield cluster, listener
    shutil.rmtree(tmp_path / "east", ignore_errors=True)


def test_a_secured_source_of_each_release_line(
    kmirror: Kmirror, source: tuple[SecuredCluster, str], guarded_west: SecuredCluster, tmp_path: Path, topic_name: str
) -> None:
    cluster, listener = source
    sides = (
        properties(cluster, tmp_path / "secrets", listener=listener),
        properties(guarded_west, tmp_path / "secrets", user="admin"),
    )
    link = SecuredLink(kmirror, cluster, guarded_west)
    config = write_properties(tmp_path / "link.properties", *sides)
    printed = kmirror.run("link", "create", "any", "--config", str(config), "--print-acls").stdout
    for line in printed.partition("# at the destination")[0].splitlines()[1:]:
        grant(cluster, bindings(line.replace("User:NAME", "User:mirror")).values())
    create_topic(cluster.bootstrap_servers, topic_name, 2)
    produce(cluster.bootstrap_servers, topic_name, sized(200, partitions=2))
    transaction(cluster.bootstrap_servers, topic_name, [Record(b"k", b"aborted")] * 5, commit=False)
    link.create_by(tmp_path, *sides)
    link.mirror(topic_name)
    link.assert_exact(topic_name, at_least=200)
    link.verb("promote", topic_name)
    link.await_status(topic_name, "STOPPED")
    link.compare(topic_name, at_least=200)
