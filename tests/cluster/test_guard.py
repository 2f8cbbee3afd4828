"""Guarded mirrors: others can't write to them until they are topics of their own, and no other ACL is ever touched."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import KafkaError, Producer
from confluent_kafka.admin import AclBinding

from kmirror.admin.acls import AclAdmin
from kmirror.admin.client_conf import client_conf
from kmirror.admin.cluster import ClusterAdmin
from kmirror.model.access import Access
from kmirror.model.acls import Acl
from kmirror.model.filters import AclFilter
from kmirror.sandbox import KafkaCluster
from kmirror.sandbox.secured import SecuredCluster
from kmirror.state.links import LinkStore
from kmirror.state.paths import Home
from kmirror.tasks.guarding import Guarding
from support.acls import bindings, grant, without
from support.kmirror_cli import Kmirror
from support.mirrors import TestLink, delete_topic
from support.secured import SecuredLink, access, properties, write_properties
from support.traffic import create_topic, produce, sized
from support.wait import eventually

WRITERS = ("User:app", "User:named", "User:reporting")
"""Whom `writers` lets write to the topic: by its name, by a prefix of it, by `*`."""


@pytest.fixture
def link(kmirror: Kmirror, guarded_east: SecuredCluster, guarded_west: SecuredCluster, tmp_path: Path) -> SecuredLink:
    found = SecuredLink(kmirror, guarded_east, guarded_west, "guarding")
    sides = (
        properties(guarded_east, tmp_path / "secrets", user="admin"),
        properties(guarded_west, tmp_path / "secrets"),
    )
    config = write_properties(tmp_path / "guarding.properties", *sides)
    grant(guarded_west, needed(kmirror, config))
    return found.create_by(tmp_path, *sides)


def needed(kmirror: Kmirror, config: Path) -> list[AclBinding]:
    """What `--print-acls` says that the destination's principal needs."""
    printed = kmirror.run("link", "create", "guarding", "--config", str(config), "--print-acls").stdout
    lines = printed.partition("# at the destination")[2].splitlines()[1:]
    return [acl for line in lines for acl in bindings(line).values()]


@pytest.fixture
def topic(link: SecuredLink, topic_name: str) -> Iterator[str]:
    """At the source, with those who may write to it at the destination."""
    create_topic(link.source.bootstrap_servers, topic_name)
    produce(link.source.bootstrap_servers, topic_name, sized(50))
    allowed = [
        acl("User:app", topic_name[:-4], pattern="PREFIXED"),
        acl("User:named", topic_name, "ALL"),
        acl("User:reporting", "*"),
        acl("User:barred", topic_name),
        acl("User:barred", topic_name, permission="DENY"),
        acl("User:reader", topic_name, "READ"),
    ]
    acls_at(link.destination).create(allowed)
    eventually(lambda: all_acls(link).issuperset(allowed), 20, lambda: f"not there yet: {allowed}")
    yield topic_name
    acls_at(link.destination).delete(allowed)
    eventually(lambda: all_acls(link).isdisjoint(allowed), 20, lambda: f"still there: {allowed}")


def acl(
    principal: str, topic: str, operation: str = "WRITE", *, pattern: str = "LITERAL", permission: str = "ALLOW"
) -> Acl:
    return Acl("TOPIC", pattern, topic, principal, "*", operation, permission)


def acls_at(cluster: KafkaCluster) -> AclAdmin:
    return AclAdmin(ClusterAdmin(Access(cluster.bootstrap_servers), cluster.name))


def all_acls(link: TestLink) -> set[Acl]:
    return acls_at(link.destination).find([AclFilter()])


def guards(topic: str) -> set[Acl]:
    return {acl(principal, topic, permission="DENY") for principal in WRITERS}


def await_acls(link: TestLink, wanted: set[Acl]) -> None:
    """The brokers learn of ACLs a moment after they are told."""
    eventually(lambda: all_acls(link) == wanted, 20, lambda: f"{sorted(map(str, all_acls(link) ^ wanted))}")


def written(cluster: SecuredCluster, topic: str, folder: Path) -> int:
    """What comes of a record that User:app sends: Kafka's code, 0 if it is there."""
    codes: list[int] = []
    more = {"enable.idempotence": False, "message.timeout.ms": 20_000, "log_level": 2}
    with client_conf(access(properties(cluster, folder / "secrets", user="app")), more) as conf:
        producer = Producer(conf)
    producer.produce(topic, b"by app", on_delivery=lambda error, _: codes.append(error.code() if error else 0))
    producer.flush(30)
    return codes[0]


@pytest.mark.parametrize("verb", ["promote", "failover"])
def test_nobody_else_writes_to_a_guarded_mirror_until_it_ends(
    link: SecuredLink, topic: str, tmp_path: Path, verb: str
) -> None:
    before = all_acls(link)
    tried = link.kmirror.run("mirror", "create", topic, "--link", link.name, "--guard", "--dry-run")
    assert f'Guard of "{topic}": DENY WRITE for {", ".join(WRITERS)}.' in tried.stderr
    assert all_acls(link) == before

    made = link.kmirror.json("mirror", "create", topic, "--link", link.name, "--guard")
    assert made["guard_denied"] == list(WRITERS)
    assert any("super users" in way for way in made["guard_open_to"])
    await_acls(link, before | guards(topic))
    assert link.describe(topic)[0]["guard"] == list(WRITERS)
    shown = link.kmirror.run("mirror", "describe", topic, "--link", link.name).stdout
    assert f"Guard: DENY WRITE for {', '.join(WRITERS)}." in shown
    assert written(link.destination, topic, tmp_path) == KafkaError.TOPIC_AUTHORIZATION_FAILED
    link.assert_exact(topic, at_least=50)

    link.kill()  # the next runner knows what is to be taken away
    link.verb(verb, topic)
    link.await_status(topic, "STOPPED")
    assert link.describe(topic)[0]["guard"] == []
    await_acls(link, before)
    eventually(lambda: written(link.destination, topic, tmp_path) == 0, 20, "app may write again")
    assert "guards" not in link.kmirror.links_file.read_text()


def test_a_guard_that_was_half_put_up_or_half_taken_away_is_gone_in_the_end(link: SecuredLink, topic: str) -> None:
    """As a crash leaves it: the intent is recorded, and any part of the ACLs may be there."""
    before = all_acls(link)
    store = LinkStore(Home(link.kmirror.home, link.kmirror.home / "run"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(AclAdmin, "create", lambda *_: (_ for _ in ()).throw(SystemExit))
        with pytest.raises(SystemExit):
            guarding(store, link).put_up(store, link.name, [topic])
    assert store.get(link.name).guards == {topic: WRITERS}
    assert all_acls(link) == before
    link.mirror(topic)  # whoever makes it then: it is guarded, and nothing is left behind
    acls_at(link.destination).create([acl("User:app", topic, permission="DENY")])
    link.assert_exact(topic, at_least=50)
    link.verb("failover", topic)
    await_acls(link, before)
    assert not store.get(link.name).guards


def guarding(store: LinkStore, link: SecuredLink) -> Guarding:
    return Guarding(ClusterAdmin(store.get(link.name).destination, "destination"), ())


def test_what_is_not_made_is_not_guarded_and_a_deleted_link_leaves_no_guard(link: SecuredLink, topic: str) -> None:
    before = all_acls(link)
    create = ("mirror", "create", topic, "--link", link.name, "--guard")
    said = link.kmirror.fails(*create, "--replication-factor", "7")
    assert said.startswith("Error: ")
    await_acls(link, before)
    link.kmirror.run(*create)
    await_acls(link, before | guards(topic))
    link.kmirror.run("link", "delete", link.name, "--force")
    await_acls(link, before)
    delete_topic(link.destination, topic)


def test_a_guard_without_the_right_to_change_acls(link: SecuredLink, topic: str, tmp_path: Path) -> None:
    create = ("mirror", "create", topic, "--link", link.name, "--guard")
    config = tmp_path / f"{link.name}.properties"
    (cluster,) = [acl for acl in needed(link.kmirror, config) if acl.name == "kafka-cluster"]
    before = all_acls(link)
    grants = f"kafka-acls.sh --bootstrap-server {link.destination.servers('SASL_SSL')} --command-config "
    grants += "ADMIN.properties --add --allow-principal User:mirror --operation Alter --cluster"
    with without(link.destination, cluster):
        said = eventually(lambda: link.kmirror.fails(*create), 20, "it is refused", 0.5)
        assert grants in said
        assert topic not in ClusterAdmin(Access(link.destination.bootstrap_servers), "west").topics()
    link.kmirror.run(*create)
    with without(link.destination, cluster):
        link.kmirror.fails("mirror", "promote", topic, "--link", link.name, "--timeout", "3", code=4)
        row = link.await_shown(topic, lambda rows: rows[0]["mirror_topic_error_message"] != "", "tells why")[0]
        assert row["mirror_status"] == "PENDING_STOPPED"
        assert "still guarded" in row["mirror_topic_error_message"]
    link.await_status(topic, "STOPPED")
    await_acls(link, before)


def test_who_logs_in_by_a_certificate_names_himself(
    kmirror: Kmirror, link: SecuredLink, topic: str, tmp_path: Path
) -> None:
    by_certificate = SecuredLink(kmirror, link.source, link.destination, "guarding.by-certificate")
    sides = [
        properties(cluster, tmp_path / "secrets", listener="MTLS", user=user)
        for cluster, user in ((link.source, "admin"), (link.destination, "mirror"))
    ]
    by_certificate.create_by(tmp_path, *sides)
    before = all_acls(link)
    create = ("mirror", "create", topic, "--link", by_certificate.name, "--guard")
    said = kmirror.fails(*create, code=2)
    assert "--guard-except User:CN=mirror" in said
    said = kmirror.fails(*create, "--guard-except", "User:somebody")
    assert "denied kmirror itself" in said
    await_acls(link, before)
    delete_topic(link.destination, topic)
    kmirror.run(*create, "--guard-except", "User:mirror")
    await_acls(link, before | guards(topic))
    by_certificate.assert_exact(topic, at_least=50)
    by_certificate.verb("failover", topic)
    await_acls(link, before)


def test_wrong_words_and_a_cluster_without_an_authorizer(
    kmirror: Kmirror, east: KafkaCluster, west: KafkaCluster, topic_name: str
) -> None:
    create_topic(east.bootstrap_servers, topic_name)
    plain = TestLink(kmirror, east, west).create()
    create = ("mirror", "create", topic_name, "--link", plain.name)
    assert "`--guard-except` is for `--guard`" in kmirror.fails(*create, "--guard-except", "User:a", code=2)
    for wrong in ("app", "User:", ":app", "User:a\n"):
        assert "TYPE:NAME" in kmirror.fails(*create, "--guard", "--guard-except", wrong, code=2)
    said = kmirror.fails(*create, "--guard")
    assert said.startswith("Error: cannot guard mirrors: the destination cluster has no authorizer")
    assert topic_name not in ClusterAdmin(Access(west.bootstrap_servers), "west").topics()
    assert json.loads(kmirror.run("mirror", "list", "--link", plain.name, "-o", "json").stdout) == []
