"""The tasks of a running link on real clusters: what follows the source beside the records."""

import json
import shlex
from functools import partial

import pytest

from support.mirrors import TestLink, add_partitions, set_topic_config, topic_configs
from support.traffic import Record, create_topic, produce
from support.wait import eventually

LINK = "east-west"
SOON = "topic.config.sync.ms=1000"


@pytest.fixture
def link(kmirror, east, west) -> TestLink:
    return TestLink(kmirror, east, west).create(SOON)


def fill(link: TestLink, topic: str, count: int) -> None:
    produce(link.source.bootstrap_servers, topic, (Record(b"key", b"%d" % n) for n in range(count)))


def task(link: TestLink, name: str) -> dict:
    return next(row for row in link.kmirror.json("link", "task", "list", LINK) if row["task_name"] == name)


def changes(link: TestLink, task_name: str) -> set[tuple[str, str, str]]:
    """What the log tells of a task: (what, old, new)."""
    lines = (link.kmirror.runtime(LINK) / "kmirror.log").read_text().splitlines()
    found = (dict(map(partial(str.split, sep="=", maxsplit=1), facts(line))) for line in lines if " changed " in line)
    return {(f["what"], f["old"], f["new"]) for f in found if f.get("task") == task_name}


def facts(line: str) -> list[str]:
    return [word for word in shlex.split(line) if "=" in word]


def test_configs_and_partitions_follow_the_source(link, topic_name):
    """What a mirror may have at once; what it may not is set by promote, as the source has it then."""
    east, west = link.source, link.destination
    create_topic(east.bootstrap_servers, topic_name, config={"retention.ms": "86400000", "compression.type": "lz4"})
    link.mirror(topic_name, "--config", "segment.ms=3600000")
    fill(link, topic_name, 10)

    wanted = {
        "retention.ms": "172800000",
        "segment.ms": "7200000",
        "max.message.bytes": "3000000",
        "compression.type": "zstd",
        "message.timestamp.type": "LogAppendTime",
    }
    for key, value in wanted.items():
        set_topic_config(east, topic_name, key, value)
    add_partitions(east, topic_name, 3)

    def followed() -> bool:
        mirror = topic_configs(west, topic_name)
        return (mirror["retention.ms"], mirror["max.message.bytes"]) == ("172800000", "3000000")

    eventually(followed, 30, link.log)
    eventually(lambda: "LogAppendTime" in link.kmirror.links_file.read_text(), 30, link.log)
    mirror = topic_configs(west, topic_name)
    assert mirror["segment.ms"] == "3600000"  # given for the mirror: it is its own
    assert (mirror["compression.type"], mirror["message.timestamp.type"]) == ("producer", "CreateTime")
    change = (f'topic "{topic_name}" retention.ms', "86400000", "172800000")
    eventually(lambda: change in changes(link, "TopicConfigsSync"), 10, link.log)
    found = eventually(lambda: (t := task(link, "TopicConfigsSync"))["changes"] >= 2 and t, 10)
    assert (found["state"], found["errors"]) == ("ACTIVE", [])

    eventually(lambda: task(link, "PartitionGrowth")["changes"] == 1, 30, link.log)
    growth = (f'topic "{topic_name}" partitions', "1", "3")
    eventually(lambda: growth in changes(link, "PartitionGrowth"), 10, link.log)

    set_topic_config(east, topic_name, "retention.ms", "259200000")
    set_topic_config(east, topic_name, "max.message.bytes", "2000000")
    link.verb("promote", topic_name)
    promoted = topic_configs(west, topic_name)
    assert {key: promoted[key] for key in wanted} == {
        "retention.ms": "259200000",
        "segment.ms": "3600000",
        "max.message.bytes": "2000000",
        "compression.type": "zstd",
        "message.timestamp.type": "LogAppendTime",
    }
    set_topic_config(west, topic_name, "retention.ms", "1000000")  # its own now
    runs = task(link, "TopicConfigsSync")["runs"]
    eventually(lambda: task(link, "TopicConfigsSync")["runs"] >= runs + 2, 20)
    assert topic_configs(west, topic_name)["retention.ms"] == "1000000"


def filters(**kinds: str) -> str:
    """INCLUDE and EXCLUDE of names that begin so."""
    found = [{"name": name, "patternType": "PREFIXED", "filterType": kind} for kind, name in kinds.items()]
    return f"auto.create.mirror.topics.filters={json.dumps({'topicFilters': found})}"


def test_new_topics_get_mirrors(kmirror, east, west, topic_name):
    """By filters and behind the prefix; what exists is told, and what was promoted stays what it is."""
    mark = topic_name[-8:]
    first, taken, later, other = (f"{mark}-{name}" for name in ("first", "taken", "later", "other"))
    for topic in (first, taken, other):
        create_topic(east.bootstrap_servers, topic, 2)
    create_topic(west.bootstrap_servers, f"e-{taken}")
    wanted = filters(INCLUDE=mark, EXCLUDE=other)
    link = TestLink(kmirror, east, west).create(
        "auto.create.mirror.topics.enable=true", wanted, "cluster.link.prefix=e-", SOON
    )
    fill(link, first, 10)
    link.start()

    eventually(lambda: f"e-{first}" in link.kmirror.links_file.read_text(), 30, link.log)
    link.await_caught_up(f"e-{first}", first)
    link.assert_exact(f"e-{first}", first)
    change = (f'mirror topic "e-{first}"', "(none)", f"2 partitions, as {first}")
    eventually(lambda: change in changes(link, "AutoCreateMirror"), 10, link.log)
    found = eventually(lambda: (t := task(link, "AutoCreateMirror"))["errors"] and t, 20, link.log)
    assert found["state"] == "IN_ERROR"
    (error,) = found["errors"]
    assert error["error_code"] == "TOPIC_EXISTS_ERROR"
    assert f'"e-{taken}" exists' in error["error_message"]

    link.verb("promote", f"e-{first}")
    create_topic(east.bootstrap_servers, later)
    update = ("link", "configuration", "update", LINK, "--config")
    link.kmirror.run(*update, filters(INCLUDE=mark, EXCLUDE=taken))  # the other one is to come now, too
    eventually(lambda: {f"e-{later}", f"e-{other}"} <= mirrors(link).keys(), 30, link.log)
    assert mirrors(link)[f"e-{first}"] == "STOPPED"
    eventually(lambda: task(link, "AutoCreateMirror")["state"] == "ACTIVE", 20, link.log)

    said = link.kmirror.fails("mirror", "create", taken, "--link", LINK, code=2)
    assert f"kmirror mirror create e-{taken} --link {LINK}" in said
    link.kmirror.run(*update, "auto.create.mirror.topics.enable=false")
    assert task(link, "AutoCreateMirror")["state"] == "NOT_CONFIGURED"


def mirrors(link: TestLink) -> dict[str, str]:
    return {row["mirror_topic_name"]: row["mirror_status"] for row in link.kmirror.json("mirror", "list")}
