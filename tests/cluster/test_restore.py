"""Fail-back: what only the old source has is saved before anything is deleted, and it becomes an exact mirror again."""

import os
import signal
import time
import tomllib
from pathlib import Path

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from kmirror.admin.cluster import ClusterAdmin
from kmirror.admin.groups import GroupAdmin
from kmirror.model.access import Access
from kmirror.model.group_offsets import Committed
from kmirror.sandbox import KafkaCluster
from support import logs
from support.logs import Isolation
from support.mirrors import TestLink, add_partitions, delete_topic, ends, set_topic_config, topic_configs
from support.traffic import Record, Traffic, create_topic, produce
from support.transactions import delete_records, open_transaction, transaction
from support.wait import eventually

LINK = "east-west"
BACK = "east-west-reverse"
NOTE = "what a consumer leaves beside its offset"
STRING = f"{NOTE}\0"
"""As librdkafka commits it."""
RESTORE = ("mirror", "truncate-and-restore", "--link", LINK)
STAMP = time.time_ns() // 1_000_000 - 60_000
"""Retention is left at its default, and must not touch the records."""


@pytest.fixture
def link(kmirror, east, west) -> TestLink:
    return TestLink(kmirror, east, west).create()


def back_of(link: TestLink) -> TestLink:
    return TestLink(link.kmirror, link.destination, link.source, BACK)


def numbered(word: str, count: int, partition: int = 0, key: bytes | None = b"k") -> list[Record]:
    headers = (("word", word.encode()), ("none", None))
    return [Record(key, f"{word} {n}".encode(), headers, STAMP + n, partition) for n in range(count)]


def commit(cluster, group: str, topic: str, offset: int) -> None:
    consumer = Consumer({"bootstrap.servers": cluster.bootstrap_servers, "group.id": group})
    place = TopicPartition(topic, 0, offset, metadata=NOTE)
    # The coordinator of a cluster's first group is still being loaded.
    eventually(lambda: consumer.commit(offsets=[place], asynchronous=False), 30, "an offset is committed")
    consumer.close()


def failed_over(link: TestLink, topic: str, *, partitions: int = 1) -> None:
    """Both sides went on by themselves: 30 records in common, then 5 at the old source, 12 at the new one."""
    create_topic(link.source.bootstrap_servers, topic, partitions, config={"retention.ms": "-1"})
    produce(link.source.bootstrap_servers, topic, numbered("common", 30))
    link.mirror(topic)
    link.await_caught_up(topic)
    link.verb("failover", topic)
    produce(link.source.bootstrap_servers, topic, numbered("lost", 5))
    produce(link.destination.bootstrap_servers, topic, numbered("new", 12))


def recorded(link: TestLink, name: str, topic: str) -> dict:
    return tomllib.loads(link.kmirror.links_file.read_text())["links"][name]["mirrors"].get(topic, {})


def test_what_only_the_old_source_has_is_saved_and_the_rest_copied_anew(link, topic_name, tmp_path):
    """Two partitions differ, one does not; then the saved records are shown, and produced again at the new source."""
    east, west = link.source, link.destination
    failed_over(link, topic_name, partitions=3)
    transaction(east.bootstrap_servers, topic_name, [Record(b"k", b"aborted", partition=1)], commit=False)
    produce(east.bootstrap_servers, topic_name, [Record(None, None, partition=2, timestamp_ms=STAMP)])
    set_topic_config(west, topic_name, "retention.ms", "86400000000")

    commit(east, "behind", topic_name, 7)
    commit(east, "beyond", topic_name, 33)

    before = link.kmirror.links_file.read_bytes()
    rows = link.kmirror.json(*RESTORE, topic_name, "--dry-run", "--include-partitions")
    assert [(r["partition"], r["messages_truncated"], r["offset_truncated_to"]) for r in rows] == [
        (0, 5, "30"),
        (1, 0, ""),
        (2, 1, "0"),
    ]
    assert link.kmirror.links_file.read_bytes() == before
    assert "needs a confirmation" in link.kmirror.fails(*RESTORE, topic_name, code=2)

    (row,) = link.kmirror.json(*RESTORE, topic_name, "--force", "--save-to", str(tmp_path))
    assert (row["messages_truncated"], row["copied_anew"], row["error_code"]) == (6, True, "")
    file = Path(row["saved_file"])
    assert file.parent == tmp_path
    back = back_of(link)
    with Traffic(west.bootstrap_servers, topic_name, rate=200) as traffic:
        back.await_beyond(topic_name, {0: 42, 1: 0, 2: 0})
    assert back.assert_exact(topic_name) == 42 + traffic.acked
    back.await_status(topic_name, "ACTIVE")
    found = GroupAdmin(ClusterAdmin(Access(east.bootstrap_servers), "source")).committed(["behind", "beyond"]).found
    assert {group: own[topic_name, 0] for group, own in found.items()} == {
        "behind": Committed(7, STRING),
        "beyond": Committed(30, STRING),
    }
    assert topic_configs(east, topic_name)["retention.ms"] == "-1"
    assert int(topic_configs(east, topic_name)["max.message.bytes"]) > 0
    assert "is already a mirror of link" in link.kmirror.fails(*RESTORE, topic_name, "--force")

    shown = link.kmirror.json("records", "show", str(file))
    assert shown["partitions"] == [
        {"partition": 0, "records": 5, "first_offset": 30, "last_offset": 34},
        {"partition": 2, "records": 1, "first_offset": 0, "last_offset": 0},
    ]
    assert shown["records"][5] == {
        "topic": topic_name,
        "partition": 2,
        "offset": 0,
        "timestamp": STAMP,
        "key": None,
        "value": None,
        "headers": [],
    }
    told = link.kmirror.fails("records", "replay", str(file), "--bootstrap-server", east.bootstrap_servers)
    assert f'is a mirror of link "{BACK}"' in told
    held = ends(west, topic_name)
    rows = link.kmirror.json("records", "replay", str(file), "--bootstrap-server", west.bootstrap_servers)
    assert [(r["partition"], r["records"], r["first_offset"]) for r in rows] == [(0, 5, held[0]), (2, 1, held[2])]
    back.assert_exact(topic_name)
    with logs.Topic(west.bootstrap_servers, topic_name, time.monotonic() + 20).picker(Isolation.COMMITTED) as picker:
        picked = picker.pick(0, held[0])
    assert (picked.key, picked.value, picked.timestamp) == (b"k", b"lost 0", STAMP)
    assert picked.headers == (("word", b"lost"), ("none", None))


def test_an_old_source_with_nothing_of_its_own_goes_on_as_it_is(link, topic_name):
    """And one whose new source begins later: what is older there is saved, the copy begins at the same offset."""
    east, west = link.source, link.destination
    same, late = f"{topic_name}-same", f"{topic_name}-late"
    for topic in (same, late):
        create_topic(east.bootstrap_servers, topic)
        produce(east.bootstrap_servers, topic, numbered("common", 30))
        link.mirror(topic)
        link.await_caught_up(topic)
    link.verb("failover", same, late)
    ids = {topic: recorded(link, LINK, topic)["source_topic_id"] for topic in (same, late)}
    produce(west.bootstrap_servers, same, numbered("new", 12))
    produce(east.bootstrap_servers, late, numbered("lost", 2))
    delete_records(west.bootstrap_servers, late, {0: 10})
    said = link.kmirror.run(*RESTORE, same, late, "--force").stdout
    assert f'Source topic "{same}" has nothing that its mirror does not have' in said
    assert "has 2 records that its mirror does not have" in said
    assert "and 10 older than what it has" in said
    assert "at which both logs were just read" in said
    back = back_of(link)
    assert back.assert_exact(same) == 42
    assert back.assert_exact(late) == 20
    assert recorded(link, BACK, same)["destination_topic_id"] == ids[same]
    assert recorded(link, BACK, late)["destination_topic_id"] != ids[late]
    (file,) = (link.kmirror.home / "records").glob(f"{late}.*.jsonl")
    shown = link.kmirror.json("records", "show", str(file), "--limit", "1")
    assert shown["partitions"] == [{"partition": 0, "records": 12, "first_offset": 0, "last_offset": 31}]
    assert file.stat().st_mode & 0o777 == 0o600


def delete_if_there(cluster: KafkaCluster, topic: str) -> None:
    """The run that was killed may have deleted it, which a broker may not know yet."""
    try:
        delete_topic(cluster, topic)
    except KafkaException as e:
        if e.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
            raise


def test_killed_at_any_step_it_goes_on(link, topic_name):
    """Each step that is recorded is a place to go on from: the fence, the file, the topic that is gone or half made."""
    east = link.source
    failed_over(link, topic_name)
    killed_at(link, topic_name, "PENDING_SETUP_FOR_RESTORE")
    killed_at(link, topic_name, "PENDING_RESTORE")
    saved = recorded(link, BACK, topic_name)["restore"]["saved"]
    delete_if_there(east, topic_name)
    # A producer that creates topics by asking for them: its records are not for kmirror to delete.
    create_topic(east.bootstrap_servers, topic_name)
    produce(east.bootstrap_servers, topic_name, numbered("stray", 1))
    told = link.kmirror.fails(*RESTORE, topic_name, "--force")
    assert "was created by somebody else after it was deleted" in told
    delete_topic(east, topic_name)
    # One that a call of ours made and did not finish.
    half = {
        "compression.type": "producer",
        "message.timestamp.type": "CreateTime",
        "message.timestamp.before.max.ms": str(2**63 - 1),
        "message.timestamp.after.max.ms": str(2**63 - 1),
    }
    create_topic(east.bootstrap_servers, topic_name, config=half)
    moved = Path(saved).rename(f"{saved}.moved")
    assert f'the file "{saved}"' in link.kmirror.fails(*RESTORE, topic_name, "--force")
    moved.rename(saved)
    (row,) = link.kmirror.json(*RESTORE, topic_name, "--force")
    assert row["saved_file"] == saved
    assert back_of(link).assert_exact(topic_name) == 42
    assert [line["offset"] for line in link.kmirror.json("records", "show", saved)["records"]] == list(range(30, 35))


def killed_at(link: TestLink, topic: str, state: str) -> None:
    """Runs it and kills it as soon as this state is recorded; it may have gone on a step by then."""
    call = link.kmirror.start(*RESTORE, topic, "--force", "--no-start")
    try:
        eventually(lambda: BACK in link.kmirror.links_file.read_text(), 30, interval=0.01)
        passed = {state, "PENDING_RESTORE"}
        eventually(lambda: recorded(link, BACK, topic).get("state") in passed, 30, interval=0.005)
    finally:
        os.kill(call.pid, signal.SIGKILL)
        call.wait()


def test_what_can_not_be_restored_is_refused(link, topic_name):
    east = link.source
    create_topic(east.bootstrap_servers, topic_name)
    produce(east.bootstrap_servers, topic_name, numbered("common", 3))
    link.mirror(topic_name)
    link.await_caught_up(topic_name)
    assert "its source is still the one that counts" in link.kmirror.fails(*RESTORE, topic_name, "--force")
    link.verb("failover", topic_name)
    with open_transaction(east.bootstrap_servers, topic_name, [Record(b"k", b"open", partition=0)]):
        told = link.kmirror.fails(*RESTORE, topic_name, "--force")
        assert "partition 0 has undecided offsets from 3 to 3" in told
    other = TestLink(link.kmirror, east, link.destination, "second").create()
    other.mirror(f"{topic_name}-second", "--source-topic", topic_name)
    told = link.kmirror.fails(*RESTORE, topic_name, "--force")
    assert f'still has a live mirror: "{topic_name}-second" of link "second"' in told
    other.verb("failover", f"{topic_name}-second")
    add_partitions(east, topic_name, 2)
    rows = link.kmirror.json(*RESTORE, topic_name, "--dry-run")
    assert rows[0]["copied_anew"] is True  # a mirror can't have more partitions than its source
    assert rows[0]["messages_truncated"] == 0  # what was aborted was never there
