"""Consumer groups move over: committed offsets at the destination, before and after promote and failover."""

import json
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from kmirror.admin.cluster import ClusterAdmin
from kmirror.admin.groups import GroupAdmin
from kmirror.model.access import Access
from kmirror.model.group_offsets import IN_USE, Committed, LogBounds, PerGroup
from kmirror.sandbox import KafkaCluster
from kmirror.wire import groups as wire_groups
from support.groups import GroupConsumer, Seen, committed, delete_group
from support.kmirror_cli import Kmirror
from support.mirror_maker import MirrorMaker
from support.mirrors import QUICK, TestLink, ends
from support.traffic import Record, create_topic, produce
from support.transactions import transaction
from support.wait import eventually

TASK = "ConsumerOffsetSync"


def test_committed_offsets_are_asked_of_old_brokers_too(
    west: KafkaCluster, topic_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    create_topic(west.bootstrap_servers, topic_name, 2)
    admin = GroupAdmin(ClusterAdmin(Access(west.bootstrap_servers), "destination"))
    wanted = {f"{n}-{topic_name}": {(topic_name, n % 2): Committed(n, "note")} for n in range(250)}
    assert admin.commit(wanted).refused == {}
    new = admin.committed(wanted)
    monkeypatch.setattr(wire_groups, "_LATEST_FIND", 3)
    monkeypatch.setattr(wire_groups, "_LATEST_FETCH", 7)
    assert admin.committed(wanted) == new == PerGroup(wanted)


def fill(cluster: KafkaCluster, topic: str, numbers: range, partitions: int = 2) -> None:
    records = (Record(b"key", b"%d" % n, partition=n % partitions) for n in numbers)
    produce(cluster.bootstrap_servers, topic, records)


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_groups_as_a_cluster_tells_of_them(west: KafkaCluster, topic_name: str, protocol: str) -> None:
    create_topic(west.bootstrap_servers, topic_name, 2)
    fill(west, topic_name, range(20))
    admin = GroupAdmin(ClusterAdmin(Access(west.bootstrap_servers), "destination"))
    group = f"group-{uuid.uuid4().hex[:8]}"
    place = (topic_name, 0)
    assert admin.commit({group: {place: Committed(3, "note")}}).found == {group: None}
    assert admin.groups()[group] is False
    with GroupConsumer(west, group, topic_name, protocol=protocol) as consumer:
        consumer.read(5)
        consumer.commit()
        assert admin.groups()[group] is True
        told = admin.commit({group: {place: Committed(1)}}).refused[group]
        assert getattr(told, "code", None) == IN_USE
    assert admin.groups()[group] is False
    assert sum(found.offset for found in admin.committed([group]).found[group].values()) >= 5
    assert admin.commit({group: {place: Committed(1)}}).refused == {}
    assert admin.committed([group, "nobody"]).found["nobody"] == {}
    bounds = admin.log_bounds([place, (topic_name, 1), (topic_name, 7), ("no-topic", 0)])
    assert set(bounds) == {place, (topic_name, 1)}
    assert sum(b.end for b in bounds.values()) == 20
    assert bounds[place] == LogBounds(0, bounds[place].end)


@pytest.fixture
def link(kmirror: Kmirror, east: KafkaCluster, west: KafkaCluster) -> TestLink:
    return TestLink(kmirror, east, west)


def sync(link: TestLink, *groups: str, period_ms: int = 1000) -> TestLink:
    """The link, with offset sync of these groups alone: others of the session are on the same clusters."""
    filters = [{"name": group, "patternType": "LITERAL", "filterType": "INCLUDE"} for group in groups]
    settings = {
        "consumer.offset.sync.enable": "true",
        "consumer.offset.sync.ms": str(period_ms),
        "consumer.offset.group.filters": json.dumps({"groupFilters": filters}),
    }
    path = link.kmirror.home.with_name("link.properties")
    path.write_text("".join(f"{key}={value}\n" for key, value in [*settings.items(), tuple(QUICK.split("="))]))
    link.kmirror.run(
        *("link", "create", link.name),
        *("--source-bootstrap-server", link.source.bootstrap_servers),
        *("--destination-bootstrap-server", link.destination.bootstrap_servers),
        *("--config", str(path)),
    )
    return link


def rows(link: TestLink, *words: str) -> list[dict[str, Any]]:
    return link.kmirror.json("mirror", "groups", link.name, *words)


def await_rows(link: TestLink, group: str, wanted: Callable[[list[dict[str, Any]]], bool]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []

    def look() -> bool:
        found[:] = rows(link, group)
        return wanted(found)

    eventually(look, 40, lambda: f"{found}\n{link.log()}", 0.3)
    return found


def values(count: int) -> list[bytes]:
    return [b"%d" % n for n in range(count)]


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_a_group_goes_on_after_promote_with_nothing_lost_or_read_twice(
    link: TestLink, topic_name: str, protocol: str
) -> None:
    group = f"g-{topic_name}"
    create_topic(link.source.bootstrap_servers, topic_name, 2)
    fill(link.source, topic_name, range(1000))
    sync(link, group, period_ms=600_000)  # what is seen at the end comes from the last round, inside promote
    link.mirror(topic_name)
    seen = Seen()
    with GroupConsumer(link.source, group, topic_name, protocol=protocol) as consumer:
        for _ in range(7):
            seen.add(consumer.read(91))
        consumer.commit()
    transaction(link.source.bootstrap_servers, topic_name, [Record(b"key", b"1000", partition=0)])
    fill(link.source, topic_name, range(1001, 1500))
    link.verb("promote", topic_name)
    assert committed(link.destination, group, topic_name) == committed(link.source, group, topic_name)
    fill(link.destination, topic_name, range(1500, 1600))
    with GroupConsumer(link.destination, group, topic_name, protocol=protocol, reset="error") as consumer:
        seen.add(consumer.read(1600 - len(seen.values)))
        seen.add(consumer.read_rest())
    assert (seen.lost(values(1600)), seen.again) == ([], 0), link.log()


def test_a_group_goes_on_after_failover_and_never_beyond_what_was_copied(link: TestLink, topic_name: str) -> None:
    group, ahead = f"g-{topic_name}", f"ahead-{topic_name}"
    create_topic(link.source.bootstrap_servers, topic_name, 2)
    fill(link.source, topic_name, range(1000))
    sync(link, group, ahead)
    seen = Seen()
    with GroupConsumer(link.source, group, topic_name) as consumer:
        seen.add(consumer.read(613))
        consumer.commit()
    # As a group that is ahead of a mirror with a lag: to the mirror it is the same.
    at_source = GroupAdmin(ClusterAdmin(Access(link.source.bootstrap_servers), "source"))
    assert not at_source.commit(
        {ahead: {(topic_name, 0): Committed(10_000, "far"), (topic_name, 1): Committed(3)}}
    ).refused
    link.mirror(topic_name)
    await_rows(link, group, lambda found: [row["status"] for row in found] == ["SYNCED"] * len(found))
    held = await_rows(link, ahead, lambda found: found[0]["landing_offset"] == 500)
    assert [(row["status"], row["source_offset"], row["records_read_again"]) for row in held] == [
        ("AT_LOG_END", 10_000, 0),
        ("SYNCED", 3, 0),
    ]
    fill(link.source, topic_name, range(1000, 1100))
    await_rows(link, ahead, lambda found: found[0]["landing_offset"] == 550)  # it follows what is copied
    link.verb("failover", topic_name)
    assert committed(link.destination, ahead, topic_name) == {0: 550, 1: 3}
    fill(link.destination, topic_name, range(1100, 1200))
    with GroupConsumer(link.destination, group, topic_name, reset="error") as consumer:
        seen.add(consumer.read(1200 - len(seen.values)))
        seen.add(consumer.read_rest())
    assert (seen.lost(values(1200)), seen.again) == ([], 0), link.log()
    with GroupConsumer(link.destination, ahead, topic_name, reset="error") as consumer:
        found = consumer.read(50 + 600 - 3)
    assert min(m.offset() for m in found if m.partition() == 0) == 550


def test_a_group_at_the_destination_is_left_alone_and_none_is_ever_deleted(link: TestLink, topic_name: str) -> None:
    group = f"g-{topic_name}"
    create_topic(link.source.bootstrap_servers, topic_name, 1)
    fill(link.source, topic_name, range(100), partitions=1)
    sync(link, group)
    link.mirror(topic_name)
    link.await_caught_up(topic_name)
    source = GroupAdmin(ClusterAdmin(Access(link.source.bootstrap_servers), "source"))
    place = (topic_name, 0)
    source.commit({group: {place: Committed(10)}})
    await_rows(link, group, lambda found: found[0]["status"] == "SYNCED" and found[0]["landing_offset"] == 10)
    with GroupConsumer(link.destination, group, topic_name) as consumer:
        consumer.read(20)
        consumer.commit()
        source.commit({group: {place: Committed(15)}})
        row = await_rows(link, group, lambda found: found[0]["source_offset"] == 15)[0]
        assert (row["status"], row["active_at_destination"]) == ("IN_USE", True)
    # It has left: the source has committed since it was synced, so that holds now.
    await_rows(link, group, lambda found: found[0]["status"] == "SYNCED" and found[0]["landing_offset"] == 15)
    destination = GroupAdmin(ClusterAdmin(Access(link.destination.bootstrap_servers), "destination"))
    destination.commit({group: {place: Committed(60)}})
    runs = task_runs(link)
    eventually(lambda: task_runs(link) > runs + 1, 40, "two more rounds")
    row = rows(link, group)[0]
    assert (row["status"], row["landing_offset"]) == ("MOVED", 60)
    delete_group(link.source, group)
    runs = task_runs(link)
    eventually(lambda: task_runs(link) > runs + 1, 40, "two more rounds")
    assert committed(link.destination, group, topic_name) == {0: 60}


def task_runs(link: TestLink) -> int:
    (task,) = [row for row in link.kmirror.json("link", "task", "list", link.name) if row["task_name"] == TASK]
    assert task["errors"] == [], link.log()
    return task["runs"]


STOPS = (101, 237, 437, 613, 871)
"""Records after which a group of the comparison has committed, and stopped."""


def test_where_groups_go_on_compared_with_mirror_maker(link: TestLink, topic_name: str, tmp_path: Path) -> None:
    """The same source, the same groups: kmirror's mirror has another name, so that both are on one cluster."""
    exact = f"exact-{topic_name}"
    groups = {f"g{stop}-{topic_name}": stop for stop in STOPS}
    create_topic(link.source.bootstrap_servers, topic_name, 2)
    fill(link.source, topic_name, range(500))
    transaction(link.source.bootstrap_servers, topic_name, [Record(b"key", b"500", partition=0)])
    fill(link.source, topic_name, range(501, 1000))
    before = {group: Seen() for group in groups}
    for group, stop in groups.items():
        with GroupConsumer(link.source, group, topic_name) as consumer:
            before[group].add(consumer.read(stop))
            consumer.commit()
    properties = {
        "groups": ",".join(groups),
        "sync.group.offsets.enabled": "true",
        "sync.group.offsets.interval.seconds": "1",
        "emit.checkpoints.interval.seconds": "1",
        "refresh.groups.interval.seconds": "2",
    }
    sync(link, *groups)
    with MirrorMaker(tmp_path / "mm2", link.source, link.destination, topic_name, properties) as maker:
        link.mirror(exact, "--source-topic", topic_name)
        link.await_caught_up(exact, topic_name)
        link.verb("promote", exact)
        eventually(
            lambda: all(committed(link.destination, group, topic_name) for group in groups), 180, maker.log, interval=1
        )
        eventually(lambda: sum(ends(link.destination, topic_name).values()) >= 1000, 60, maker.log, interval=1)
    ours, theirs = (go_on(link, topic, before) for topic in (exact, topic_name))
    assert ours == (0, 0), link.log()
    lost, again = theirs
    print(f"MirrorMaker 2: {lost} records lost, {again} read again by {len(groups)} groups; kmirror: none, none")
    assert lost + again > 0


def go_on(link: TestLink, topic: str, before: Mapping[str, Seen]) -> tuple[int, int]:
    """All groups go on at the destination; how many records they lost, and how many they read again."""
    lost = again = 0
    for group, seen in before.items():
        both = Seen(list(seen.values))
        with GroupConsumer(link.destination, group, topic) as consumer:
            both.add(consumer.read_rest())
        lost += len(both.lost(values(1000)))
        again += both.again
    return lost, again
