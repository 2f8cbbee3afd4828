"""Several mirrors at once on real clusters: what is made, what is refused, and that one never stops the others."""

import json

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import NewTopic

from support.mirrors import TestLink, admin
from support.traffic import Record, create_topic, produce
from support.wait import eventually

LINK = "east-west"
COUNT = 120


@pytest.fixture
def link(kmirror, east, west) -> TestLink:
    return TestLink(kmirror, east, west).create()


def by_topic(rows) -> dict:
    return {row["mirror_topic_name"]: row for row in rows}


def codes(rows) -> dict[str, str]:
    return {row["mirror_topic_name"]: row["error_code"] for row in rows}


def test_all_that_match_are_mirrored_exactly_and_again_changes_nothing(link, east, west, topic_name):
    names = [f"{topic_name}-{number:03}" for number in range(COUNT)]
    client = admin(east)
    for future in client.create_topics([NewTopic(name, 2, 1) for name in names], operation_timeout=20).values():
        future.result(20)
    for name in names[:3]:
        produce(east.bootstrap_servers, name, (Record(b"k", b"%d" % n, partition=n % 2) for n in range(20)))
    pattern = f"{topic_name}-.*"
    there = set(admin(west).list_topics(timeout=20).topics)

    planned = link.kmirror.json("mirror", "create", "--all-matching", pattern, "--link", LINK, "--dry-run")
    assert [row["mirror_topic_name"] for row in planned] == names
    assert {row["mirror_status"] for row in planned} == {""}
    assert set(admin(west).list_topics(timeout=20).topics) == there
    assert not link.kmirror.runner_pids()

    rows = link.kmirror.json("mirror", "create", "--all-matching", pattern, "--link", LINK)
    assert [row["mirror_topic_name"] for row in rows] == names
    assert {(row["mirror_status"], row["num_partition"], row["error_code"]) for row in rows} == {("ACTIVE", 2, "")}
    again = link.kmirror.run("mirror", "create", "--all-matching", pattern, "--link", LINK, "-o", "json")
    assert again.stdout == "[]\n"
    assert f"{COUNT} that match are mirrors" in again.stderr

    for name in names[:3]:
        link.assert_exact(name)
    paused = link.verb("pause", options=("--pattern", f"{topic_name}-00.", "--wait"))
    assert set(by_topic(paused)) == set(names[:10])
    promoted = by_topic(link.verb("promote", options=("--all",)))
    assert set(promoted) == set(names)
    assert {row["mirror_status"] for row in promoted.values()} == {"STOPPED"}
    assert {row["records_left_behind"] for row in promoted.values()} == {0}
    for name in names[:3]:
        assert link.compare(name) == 20
    assert "120 are STOPPED already" in link.kmirror.fails("mirror", "promote", "--all", "--link", LINK)


def test_one_that_is_refused_never_stops_the_others(link, east, west, topic_name):
    good, late, taken = (f"{topic_name}-{word}" for word in ("good", "late", "taken"))
    for name in (good, late, taken):
        create_topic(east.bootstrap_servers, name)
    create_topic(west.bootstrap_servers, taken)
    words = ("mirror", "create", taken, good, "a b", f"{topic_name}-absent", late, good, "--link", LINK)

    done = link.kmirror.run(*words, "-o", "json", check=False)

    assert done.returncode == 1
    assert "failed to create 3 of 5 mirror topics" in done.stderr
    rows = json.loads(done.stdout)
    assert codes(rows) == {
        taken: "INVALID_REQUEST_ERROR",
        good: "",
        "a b": "INVALID_REQUEST_ERROR",
        f"{topic_name}-absent": "UNKNOWN_TOPIC_OR_PARTITION_ERROR",
        late: "",
    }
    assert 'topic "a b"' not in link.kmirror.links_file.read_text()
    for name in (good, late):
        link.await_status(name, "ACTIVE")

    produce(east.bootstrap_servers, good, [Record(b"k", b"v")] * 5)
    done = link.kmirror.run("mirror", "failover", good, "nope", late, "--link", LINK, "-o", "json", check=False)
    assert done.returncode == 1
    assert codes(json.loads(done.stdout)) == {good: "", "nope": "UNKNOWN_TOPIC_OR_PARTITION_ERROR", late: ""}
    assert {link.status(good), link.status(late)} == {"STOPPED"}


def test_log_starts_of_several_are_aligned_together(link, east, topic_name):
    names = [f"{topic_name}-{number}" for number in range(3)]
    for number, name in enumerate(names):
        create_topic(east.bootstrap_servers, name, partitions=2)
        produce(east.bootstrap_servers, name, (Record(b"k", b"%d" % n, partition=n % 2) for n in range(40)))
        if number:
            client = admin(east)
            for future in client.delete_records([TopicPartition(name, 0, number * 7)]).values():
                future.result(20)

    rows = link.kmirror.json("mirror", "create", *names, "--link", LINK)

    assert {row["error_code"] for row in rows} == {""}
    eventually(lambda: all(link.status(name) == "ACTIVE" for name in names), 20, "they are ACTIVE")
    assert [link.assert_exact(name) for name in names] == [40, 33, 26]
