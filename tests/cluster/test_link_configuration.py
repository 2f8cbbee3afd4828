"""Configurations that a running link takes: none of it may cost a record, or double one."""

import pytest

from support.mirrors import TestLink
from support.traffic import Record, create_topic, produce
from support.wait import eventually

LINK = "east-west"


@pytest.fixture
def link(kmirror, east, west) -> TestLink:
    return TestLink(kmirror, east, west).create()


def fill(link: TestLink, topic: str, count: int) -> None:
    produce(link.source.bootstrap_servers, topic, (Record(b"key", b"%d" % n, partition=n % 2) for n in range(count)))


def update(link: TestLink, *pairs: str) -> None:
    link.kmirror.run("link", "configuration", "update", LINK, "--config", ",".join(pairs))


def task(link: TestLink, name: str) -> dict:
    return next(row for row in link.kmirror.json("link", "task", "list", LINK) if row["task_name"] == name)


def test_a_paused_link_copies_nothing_and_goes_on_exactly(link, topic_name):
    create_topic(link.source.bootstrap_servers, topic_name, partitions=2)
    fill(link, topic_name, 10)
    link.mirror(topic_name)
    link.await_caught_up(topic_name)
    runner = link.pid

    link.kmirror.run("link", "pause", LINK)
    fill(link, topic_name, 10)

    assert link.status(topic_name) == "LINK_PAUSED"
    assert link.kmirror.json("link", "describe", LINK)["state"] == "PAUSED"
    assert task(link, "PartitionGrowth")["state"] == "LINK_PAUSED"
    said = link.kmirror.fails("mirror", "promote", topic_name, "--link", LINK)
    assert f"kmirror link resume {LINK}" in said
    link.stop()
    link.start()  # it is recorded: the next runner pauses as well
    assert [row["last_source_fetch_offset"] for row in link.describe(topic_name)] in ([5, 5], [-1, -1])

    link.kmirror.run("link", "resume", LINK)
    link.await_caught_up(topic_name)
    assert link.pid != runner
    link.assert_exact(topic_name)


def test_a_failover_works_on_a_paused_link(link, topic_name):
    create_topic(link.source.bootstrap_servers, topic_name, partitions=2)
    fill(link, topic_name, 10)
    link.mirror(topic_name)
    link.await_caught_up(topic_name)
    link.kmirror.run("link", "pause", LINK)

    rows = link.verb("failover", topic_name)

    assert {row["mirror_status"] for row in rows} == {"STOPPED"}


def test_settings_change_under_way_without_a_restart_or_a_difference(link, topic_name):
    """Those of the engine make a new one: what was in flight is settled, and the log end is the position."""
    create_topic(link.source.bootstrap_servers, topic_name, partitions=2)
    fill(link, topic_name, 100)
    link.mirror(topic_name)
    runner = link.pid
    for size in (20_000, 10_000):
        fill(link, topic_name, 500)
        update(link, f"replica.fetch.max.bytes={size}", "metadata.max.age.ms=400")
        old = "(default)" if size == 20_000 else 20_000
        change = f"key=replica.fetch.max.bytes old={old} new={size}"
        eventually(lambda change=change: change in full_log(link), 20, link.log)
    fill(link, topic_name, 500)
    link.await_caught_up(topic_name)

    assert link.pid == runner
    link.assert_exact(topic_name)

    other = link.destination.bootstrap_servers
    said = link.kmirror.fails("link", "configuration", "update", LINK, "--config", f"bootstrap.servers={other}")
    assert "with which the link was made" in said
    assert link.pid == runner


def full_log(link: TestLink) -> str:
    return (link.kmirror.runtime(LINK) / "kmirror.log").read_text()
