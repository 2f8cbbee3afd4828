"""Secured clusters on both sides: every way in works on both planes, every wrong way is told in one line."""

import json
from pathlib import Path

import pytest

from kmirror.admin.cluster import ClusterAdmin
from kmirror.errors import ClusterError
from kmirror.model.access import Access
from kmirror.sandbox.authority import Authority
from kmirror.sandbox.secured import SecuredCluster
from kmirror.wire.reach import check_reachable
from support.groups import committed
from support.kmirror_cli import Kmirror
from support.secured import SecuredLink, access, properties
from support.traffic import Record, create_topic, produce, sized
from support.transactions import transaction
from support.wait import eventually

WAYS = [
    ("SSL", ""),
    ("MTLS", ""),
    *(
        (listener, f)
        for listener in ("SASL_SSL", "SASL_PLAINTEXT")
        for f in ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
    ),
]


@pytest.fixture
def link(kmirror: Kmirror, guarded_east: SecuredCluster, guarded_west: SecuredCluster) -> SecuredLink:
    return SecuredLink(kmirror, guarded_east, guarded_west)


@pytest.mark.parametrize(("listener", "mechanism"), WAYS)
def test_every_way_in_serves_both_planes(
    guarded_east: SecuredCluster, tmp_path: Path, listener: str, mechanism: str
) -> None:
    way = access(properties(guarded_east, tmp_path, listener=listener, mechanism=mechanism))
    check_reachable(way, "source")
    known = ClusterAdmin(Access(guarded_east.bootstrap_servers), "source").cluster_id()
    assert ClusterAdmin(way, "source").cluster_id() == known


def test_a_whole_mirror_over_scram(link: SecuredLink, tmp_path: Path, topic_name: str) -> None:
    """Created, copied with a transaction's gaps, its group's offsets synced, promoted."""
    east = link.source.bootstrap_servers
    create_topic(east, topic_name, 2)
    produce(east, topic_name, sized(300, partitions=2))
    transaction(east, topic_name, [Record(b"k", b"aborted")] * 20, commit=False)
    transaction(east, topic_name, [Record(b"k", b"committed")] * 20)
    group = f"group-{topic_name}"
    filters = {"groupFilters": [{"name": group, "patternType": "LITERAL", "filterType": "INCLUDE"}]}
    sides = [properties(cluster, tmp_path / "secrets", user="admin") for cluster in (link.source, link.destination)]
    (tmp_path / "sync.properties").write_text(
        "consumer.offset.sync.enable=true\nconsumer.offset.sync.ms=1000\n"
        f"consumer.offset.group.filters={json.dumps(filters)}\n"
    )
    link.create_by(tmp_path, sides[0], sides[1])
    link.kmirror.run("link", "configuration", "update", link.name, "--config", str(tmp_path / "sync.properties"))
    link.mirror(topic_name)

    link.assert_exact(topic_name, at_least=100)
    commit_group(link.source, group, topic_name, 5)
    eventually(lambda: committed(link.destination, group, topic_name).get(0) == 5, 30, "the group's offset is synced")
    produce(east, topic_name, sized(100, partitions=2, seed=2))
    link.verb("promote", topic_name)
    link.await_status(topic_name, "STOPPED")
    link.compare(topic_name, at_least=300)


def commit_group(cluster: SecuredCluster, group: str, topic: str, offset: int) -> None:
    from kmirror.admin.groups import GroupAdmin
    from kmirror.model.group_offsets import Committed

    admin = GroupAdmin(ClusterAdmin(Access(cluster.bootstrap_servers), "source"))
    assert admin.commit({group: {(topic, 0): Committed(offset)}}).refused == {}


WRONG: list[tuple[str, dict[str, str], str, str]] = [
    ("SASL_SSL", {"sasl.password": "wrong"}, 'does not accept "mirror" by SCRAM-SHA-512', "Check the name and"),
    (
        "SASL_SSL",
        {"sasl.mechanism": "PLAIN", "sasl.password": "wrong"},
        'does not accept "mirror" by PLAIN',
        "Check",
    ),
    ("SASL_SSL", {"ssl.truststore.location": "OTHER"}, "is not trusted", "ssl.truststore.location"),
    ("SASL_SSL", {"ssl.truststore.location": ""}, "is not trusted", "ssl.truststore.location"),
    ("SSL", {"bootstrap.servers": "MISNAMED"}, 'is not for "127.0.0.1"', "a name that is in its certificate"),
    ("SSL", {"bootstrap.servers": "EXPIRED"}, "has expired", "Renew it"),
    ("SSL", {"bootstrap.servers": "MTLS"}, "does not accept the client's certificate", "ssl.keystore.location"),
    (
        "MTLS",
        {"ssl.keystore.location": "OTHER"},
        "does not accept the client's certificate",
        "ssl.keystore.location",
    ),
    ("PLAINTEXT", {"bootstrap.servers": "SSL"}, "speaks TLS", "security.protocol"),
    ("PLAINTEXT", {"bootstrap.servers": "SASL_SSL"}, "speaks TLS", "security.protocol"),
    ("PLAINTEXT", {"bootstrap.servers": "SASL_PLAINTEXT"}, "closed the connection", "may be for SASL"),
    ("SSL", {"bootstrap.servers": "PLAINTEXT"}, "closed the connection in the TLS handshake", "security.protocol"),
    ("SSL", {"bootstrap.servers": "SASL_SSL"}, "closed the connection", "may be for SASL"),
    ("SASL_SSL", {"bootstrap.servers": "SSL"}, "is not for SASL", "security.protocol"),
    ("SASL_PLAINTEXT", {"bootstrap.servers": "PLAINTEXT"}, "is not for SASL", "security.protocol"),
]


@pytest.mark.parametrize("wrong", WRONG)
def test_every_wrong_way_is_told_in_one_line(
    guarded_east: SecuredCluster, tmp_path: Path, wrong: tuple[str, dict[str, str], str, str]
) -> None:
    listener, change, told, hint = wrong
    found = properties(guarded_east, tmp_path, listener=listener)
    for key, value in change.items():
        if key == "bootstrap.servers":
            found[key] = guarded_east.bootstrap_servers if value == "PLAINTEXT" else guarded_east.servers(value)
        elif value == "OTHER":
            other = Authority("other")
            (tmp_path / "other.pem").write_text(other.certify("mirror").store + other.certificate)
            found[key] = str(tmp_path / "other.pem")
        else:
            found[key] = value
    with pytest.raises(ClusterError) as e:
        check_reachable(access(found), "source")
    assert told in e.value.message
    assert "\n" not in e.value.message
    assert hint in (e.value.hint or "")
    assert "wrong" not in e.value.message + (e.value.hint or "")
