"""ACLs follow the source's, between clusters that check them; and a promote whose last sync of offsets is refused."""

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from typing import Any

import pytest

from kmirror.admin.acls import AclAdmin
from kmirror.admin.cluster import ClusterAdmin
from kmirror.admin.groups import GroupAdmin
from kmirror.model.access import Access
from kmirror.model.acls import Acl
from kmirror.model.filters import AclFilter
from kmirror.model.group_offsets import Committed
from kmirror.sandbox import KafkaCluster, kafka_runtime
from support.groups import committed
from support.kmirror_cli import Kmirror
from support.mirrors import QUICK, TestLink
from support.traffic import Record, create_topic, produce
from support.wait import eventually

GUARDED = {
    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "super.users": "User:ANONYMOUS",
    "auto.create.topics.enable": "false",
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.num.partitions": "4",
}
SHORT_STRINGS = {"offset.metadata.max.bytes": "8"}

Pair = tuple[KafkaCluster, KafkaCluster]


@pytest.fixture(scope="module")
def guarded(nothing_left_behind: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Two clusters with an authorizer. The destination takes only short strings beside a committed offset."""
    directory = tmp_path_factory.mktemp("guarded")
    runtime = kafka_runtime("4.3.1")
    with ExitStack() as stack:
        source, destination = (
            KafkaCluster(name, directory / name, runtime, properties={**GUARDED, **more})
            for name, more in (("guarded-east", {}), ("guarded-west", SHORT_STRINGS))
        )
        yield stack.enter_context(source), stack.enter_context(destination)


@pytest.fixture
def link(kmirror: Kmirror, guarded: Pair) -> TestLink:
    return TestLink(kmirror, *guarded)


def create(link: TestLink, settings: Mapping[str, str]) -> None:
    path = link.kmirror.home.with_name("link.properties")
    path.write_text("".join(f"{key}={value}\n" for key, value in settings.items()) + QUICK)
    link.kmirror.run(
        *("link", "create", link.name),
        *("--source-bootstrap-server", link.source.bootstrap_servers),
        *("--destination-bootstrap-server", link.destination.bootstrap_servers),
        *("--config", str(path)),
    )


def acls(cluster: KafkaCluster) -> AclAdmin:
    return AclAdmin(ClusterAdmin(Access(cluster.bootstrap_servers), cluster.name))


def acl(principal: str, operation: str, topic: str, *, prefixed: bool = False, permission: str = "ALLOW") -> Acl:
    return Acl("TOPIC", "PREFIXED" if prefixed else "LITERAL", topic, f"User:{principal}", "*", operation, permission)


def await_acls(link: TestLink, principals: set[str], wanted: set[Acl]) -> None:
    found: set[Acl] = set()

    def same() -> bool:
        found.clear()
        found.update(a for a in acls(link.destination).find([AclFilter()]) if a.principal in principals)
        return found == wanted

    eventually(same, 30, lambda: f"there: {sorted(map(str, found))}\n{link.log()}", 0.2)


def task(link: TestLink, name: str) -> dict[str, Any]:
    return next(row for row in link.kmirror.json("link", "task", "list", link.name) if row["task_name"] == name)


def test_acls_follow_and_only_what_was_created_is_deleted(link: TestLink, topic_name: str) -> None:
    mine, other, local = (f"{name}-{topic_name}" for name in ("mine", "other", "local"))
    read, deny = acl(mine, "READ", topic_name), acl(mine, "DELETE", topic_name, permission="DENY")
    write, wide = acl(mine, "WRITE", topic_name), acl(mine, "ALL", topic_name[:-3], prefixed=True)
    at_source, there = acls(link.source), acls(link.destination)
    at_source.create([read, deny, write, wide, acl(other, "READ", topic_name)])
    own = acl(mine, "ALTER", topic_name)  # somebody gave it at the destination, within the scope of the filters
    both = acl(mine, "DESCRIBE", topic_name)
    there.create([own, both, acl(local, "READ", topic_name)])
    at_source.create([both])
    create_topic(link.source.bootstrap_servers, topic_name)
    filters = {"aclFilters": [{"accessFilter": {"principal": f"User:{mine}"}}]}
    create(link, {"acl.sync.enable": "true", "acl.sync.ms": "1000", "acl.filters": json.dumps(filters)})
    link.mirror(topic_name)
    everybody = {f"User:{name}" for name in (mine, other, local)}
    look = {acl(mine, op, topic_name[:-3], prefixed=True) for op in ("READ", "DESCRIBE_CONFIGS")}
    stays = {own, both, acl(local, "READ", topic_name)}
    # Nobody gets to write to a mirror: that is held back, and of ALL what only looks is given.
    await_acls(link, everybody, {read, deny, *look, *stays})
    assert task(link, "AclSync")["counts"]["held_back"] == 2

    link.stop()
    at_source.delete([read, both])
    link.start()  # a new process knows what the last one created: it deletes `read`, and not `both`
    await_acls(link, everybody, {deny, *look, *stays})

    link.verb("promote", topic_name)
    await_acls(link, everybody, {deny, write, wide, *stays})
    assert task(link, "AclSync")["errors"] == []
    log = (link.kmirror.runtime(link.name) / "kmirror.log").read_text()
    assert f'changed task=AclSync what=ACL old=(none) new="{write}"' in log
    assert f'changed task=AclSync what=ACL old="{read}" new=(none)' in log


def test_a_promote_tells_why_its_last_sync_is_refused_and_goes_on_once_it_is_not(
    link: TestLink, topic_name: str
) -> None:
    group = f"g-{topic_name}"
    create_topic(link.source.bootstrap_servers, topic_name)
    produce(link.source.bootstrap_servers, topic_name, [Record(b"key", b"%d" % n) for n in range(100)])
    source = GroupAdmin(ClusterAdmin(Access(link.source.bootstrap_servers), "source"))
    long = {group: {(topic_name, 0): Committed(10, "longer than the destination takes")}}
    # Both clusters have no offsets topic yet: coordinators come and move while they are asked.
    eventually(lambda: source.commit(long).refused == {}, 60, "the group has committed at the source")
    filters = {"groupFilters": [{"name": group, "patternType": "LITERAL", "filterType": "INCLUDE"}]}
    create(
        link,
        {
            "consumer.offset.sync.enable": "true",
            "consumer.offset.sync.ms": "1000",
            "consumer.offset.group.filters": json.dumps(filters),
        },
    )
    link.mirror(topic_name)
    link.await_caught_up(topic_name)
    eventually(lambda: task(link, "ConsumerOffsetSync")["state"] == "IN_ERROR", 30, link.log)
    link.kmirror.fails("mirror", "promote", topic_name, "--link", link.name, "--timeout", "3", code=4)
    row = link.await_shown(topic_name, lambda rows: rows[0]["mirror_topic_error_message"] != "", "tells why")[0]
    assert row["mirror_status"] == "PENDING_STOPPED"
    told = f'last ConsumerOffsetSync: the destination cluster did not commit offsets of group "{group}": '
    assert row["mirror_topic_error_message"].startswith(f"{told}OffsetMetadataTooLarge")
    assert source.commit({group: {(topic_name, 0): Committed(20, "short")}}).refused == {}
    link.await_status(topic_name, "STOPPED")
    assert committed(link.destination, group, topic_name) == {0: 20}
