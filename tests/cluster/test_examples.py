"""examples/*.sh do on real clusters what they say."""

import subprocess
import sys
from pathlib import Path

import pytest

from support.mirrors import TestLink, admin
from support.pages import ROOT
from support.traffic import Record, create_topic, produce

LINK = "east-west"
PARTITIONS = 2


@pytest.fixture
def link(kmirror, east, west) -> TestLink:
    return TestLink(kmirror, east, west).create()


@pytest.fixture
def topics(link, topic_name) -> list[str]:
    """Two topics with records at the source, of one prefix."""
    names = [f"{topic_name}.{n}" for n in range(2)]
    for name in names:
        create_topic(link.source.bootstrap_servers, name, PARTITIONS)
        produce(
            link.source.bootstrap_servers,
            name,
            (Record(b"k", b"%d" % n, partition=n % PARTITIONS) for n in range(100)),
        )
    return names


def run(link: TestLink, script: str, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    """By sh, with this kmirror first on the PATH."""
    environment = link.kmirror.environment
    path = f"{Path(sys.executable).parent}:{environment['PATH']}"
    done = subprocess.run(
        ["sh", str(ROOT / "examples" / script), *arguments],
        env={**environment, "PATH": path},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == code, f"{script}: exit code {done.returncode}\n{done.stdout}\n{done.stderr}\n{link.log()}"
    return done


def test_a_drill_leaves_the_mirror_in_use_alone(link, topics):
    link.mirror(topics[0])

    done = run(link, "failover-drill.sh", LINK, topics[0])

    assert "The drill worked" in done.stdout
    states = {row["mirror_topic_name"]: row["mirror_status"] for row in link.kmirror.json("mirror", "list")}
    (drill,) = states.keys() - {topics[0]}
    assert states == {topics[0]: "ACTIVE", drill: "STOPPED"}
    assert link.compare(drill, topics[0]) == 100


def test_a_drill_that_does_not_fill_is_no_success(link, topics):
    run(link, "failover-drill.sh", LINK, "no-such-topic", code=1)
    link.kmirror.run("link", "pause", LINK)
    link.kmirror.environment["SECONDS_TO_FILL"] = "2"

    said = run(link, "failover-drill.sh", LINK, topics[0], code=4).stderr

    assert "is not filled" in said


def test_lag_is_told_by_the_exit_code(link, topics):
    for topic in topics:
        link.mirror(topic)
        link.await_caught_up(topic)

    link.await_shown(topics[0], lambda rows: all(row["partition_mirror_lag"] == 0 for row in rows), "is full")
    done = run(link, "nightly-lag.sh", LINK, "60s")
    assert (done.stdout, done.stderr) == ("", "")

    link.verb("pause", topics[1])
    assert f"nightly-lag: {topics[1]} is PAUSED" in run(link, "nightly-lag.sh", LINK, "60s", code=1).stderr


def test_each_topic_of_a_prefix(link, topics, topic_name):
    run(link, "mirror-prefix.sh", LINK, f"{topic_name}.")
    assert sorted(row["mirror_topic_name"] for row in link.kmirror.json("mirror", "list")) == topics

    run(link, "mirror-prefix.sh", LINK, f"{topic_name}.")
    for topic in topics:
        link.assert_exact(topic, at_least=100)


def test_all_are_promoted_and_compared(link, topics):
    for topic in topics:
        link.mirror(topic)

    run(link, "promote-all.sh", LINK, "60s")

    assert [row["mirror_status"] for row in link.kmirror.json("mirror", "list")] == ["STOPPED"] * 2
    assert {*topics} <= set(admin(link.destination).list_topics(timeout=20).topics)


def test_nothing_to_promote_is_no_success(link):
    assert "has no mirrors" in run(link, "promote-all.sh", LINK, code=1).stderr
