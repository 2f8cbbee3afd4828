"""Secured clusters on both sides: every way in works on both planes, every wrong way is told in one line."""

import json
import re
import signal
from collections import Counter
from pathlib import Path

import pytest

from kmirror.admin.cluster import ClusterAdmin
from kmirror.errors import ClusterError
from kmirror.model.access import Access
from kmirror.sandbox.authority import Authority
from kmirror.sandbox.secured import SecuredCluster
from kmirror.sandbox.token_endpoint import TokenEndpoint
from kmirror.wire.reach import check_reachable
from support.groups import committed
from support.kmirror_cli import Kmirror
from support.secured import SecuredLink, access, by_token, change_password, commit_group, properties, write_properties
from support.traffic import Record, Traffic, create_topic, produce, sized
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


def test_sessions_are_renewed_and_secrets_change_under_way(link: SecuredLink, tmp_path: Path, topic_name: str) -> None:
    """Tokens at the source and sessions at the destination live for 6 s, and a password is changed meanwhile."""
    east = link.source.bootstrap_servers
    create_topic(east, topic_name, 2)
    clients = {"admin": "the secret of a client"}
    with TokenEndpoint(clients, life_s=6) as endpoint, Traffic(east, topic_name, rate=200) as traffic:
        folder = tmp_path / "secrets"
        link.create_by(
            tmp_path, by_token(link.source, folder, endpoint), properties(link.destination, folder, user="admin")
        )
        link.mirror(topic_name)
        transaction(east, topic_name, [Record(b"k", b"aborted")] * 5, commit=False)
        eventually(lambda: "purpose=markers" in link.whole_log(), 40, "every connection is made")
        change_password(link.destination, "admin", folder)
        for _ in range(4):
            given = endpoint.given
            transaction(east, topic_name, [Record(b"k", b"aborted")] * 5, commit=False)
            eventually(lambda known=given: endpoint.given > known, 40, "the token is renewed")
        # Whoever did not renew would have lost every connection at least three times by now.
        made = Counter(re.findall(r" connected (cluster=\w+ broker=\d+) .*(purpose=\w+)", link.whole_log()))
        assert made
        assert max(made.values()) <= 2, made
        assert "given up" not in link.whole_log()
        traffic.stop()
        link.assert_exact(topic_name, at_least=1000)
        for cluster, side in ((link.source, "source"), (link.destination, "destination")):
            told = [line for line in link.whole_log().splitlines() if "does not accept" in line and side in line]
            assert len(told) <= 1, f"{cluster.name}: {told}"


def test_what_kmirror_writes_holds_no_secret(link: SecuredLink, tmp_path: Path, topic_name: str) -> None:
    """With secrets as they are in its configuration: they are in links.toml alone, which is its owner's."""
    create_topic(link.source.bootstrap_servers, topic_name, 1)
    produce(link.source.bootstrap_servers, topic_name, sized(50))
    sides = [properties(cluster, tmp_path / "s", user="admin") for cluster in (link.source, link.destination)]
    secrets = [cluster.users["admin"].password for cluster in (link.source, link.destination)]
    for side, secret in zip(sides, secrets, strict=True):
        side["sasl.password"] = secret
    certified = link.source.authority.certify("admin", password="of-the-key")
    sides[0] |= {
        "ssl.keystore.certificate.chain": certified.certificate.replace("\n", "\\n"),
        "ssl.keystore.key": certified.key.replace("\n", "\\n"),
        "ssl.key.password": "of-the-key",
    }
    secrets += ["of-the-key", certified.key.splitlines()[1]]
    config = write_properties(tmp_path / "link.properties", *sides)
    told: list[str] = []

    def run(*words: str, code: int = 0) -> None:
        done = link.kmirror.run(*words, check=False)
        assert done.returncode == code, done.stdout + done.stderr
        told.append(done.stdout + done.stderr)

    run("link", "create", link.name, "--config", str(config))
    assert "is kept in links.toml as it is" in told[0]
    run("link", "create", "other", "--config", str(config), "--config", "sasl.password=wrong", code=1)
    assert "does not accept" in told[-1]
    link.mirror(topic_name)
    link.assert_exact(topic_name)
    update = ("link", "configuration", "update", link.name, "--config")
    run(*update, "sasl.username=${env:NOT_SET}", code=1)
    for words in (
        ("link", "list"),
        ("link", "describe", link.name),
        ("link", "configuration", "list", link.name, "-o", "json"),
        ("link", "task", "list", link.name),
        ("mirror", "describe", topic_name, "--link", link.name),
        ("mirror", "verify", topic_name, "--link", link.name),
        ("mirror", "verify", topic_name, "--link", link.name, "--independent"),
        ("status",),
        ("export",),
    ):
        run(*words)
    link.kmirror.run("doctor", "--link", link.name, check=False)
    (tmp_path / "more.properties").write_text(f"metrics.address=127.0.0.1:0\nsasl.password={secrets[0]}\n")
    run(*update, str(tmp_path / "more.properties"))
    run("mirror", "promote", topic_name, "--link", link.name)
    run("link", "logs", link.name)
    running = "".join(process.command for process in link.kmirror.processes())
    assert "link run" in running
    written = b"".join(path.read_bytes() for path in sorted(link.kmirror.home.rglob("*")) if is_written(path))
    assert written
    for secret in secrets:
        assert secret.encode() not in written + "".join([running, *told]).encode()
    assert secrets[0] in link.kmirror.links_file.read_text()
    assert link.kmirror.links_file.stat().st_mode & 0o777 == 0o600


def is_written(path: Path) -> bool:
    return path.is_file() and path.name != "links.toml"


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


def test_a_sandbox_for_people(kmirror: Kmirror, free_ports: tuple[str, str]) -> None:
    """The files that it writes are enough for a link, and for Kafka's own kind of clients."""
    east, west = free_ports
    up = kmirror.start("sandbox", "up", "--secure", "--east-port", east, "--west-port", west)
    log = kmirror.home.with_name(f"{kmirror.home.name}-foreground-0.log")
    eventually(lambda: "Ready." in log.read_text() or up.poll() is not None, 240, "the sandbox is up")
    told = log.read_text()
    (command,) = re.findall(r"kmirror (link create .*)", told)
    made = kmirror.run(*command.split())
    assert 'security.protocol"="SASL_SSL"' in made.stdout
    files = [Path(path) for path in re.findall(r"\S+\.properties", told)]
    assert len(files) == 7
    assert all(file.stat().st_mode & 0o077 == 0 for file in files)
    up.send_signal(signal.SIGINT)
    assert up.wait(60) == 0
    assert not any(file.exists() for file in files)
