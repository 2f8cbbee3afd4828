"""The doctor at real brokers: all is well, and what is broken on purpose is found."""

import json

import pytest

from support.mirrors import TestLink, set_topic_config
from support.traffic import create_topic
from support.wait import eventually

LINK = "east-west"


@pytest.fixture
def link(kmirror, east, west) -> TestLink:
    return TestLink(kmirror, east, west).create()


def examined(link: TestLink, code: int) -> list[dict]:
    done = link.kmirror.run("doctor", "--link", LINK, "-o", "json", check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return json.loads(done.stdout)


def not_ok(rows: list[dict]) -> list[tuple[str, str, str]]:
    return [(row["check"], row["subject"], row["result"]) for row in rows if row["result"] != "ok"]


def test_a_link_that_works_is_well_and_nothing_is_changed(link, east, topic_name):
    create_topic(east.bootstrap_servers, topic_name)
    link.mirror(topic_name)
    link.await_status(topic_name, "ACTIVE")
    # The first link of a new cluster waits for a moment until its coordinator knows of transactional ids.
    eventually(lambda: "error" not in link.kmirror.json("link", "describe", LINK), 30, link.log)
    recorded = link.kmirror.links_file.read_bytes()

    rows = examined(link, 0)

    assert not_ok(rows) == []
    told = {(row["check"], row["subject"]) for row in rows}
    for side in ("source", "destination"):
        assert {(side, "broker 0"), (side, "clock"), (side, "cluster id"), ("rights", f"{side} topics")} <= told
    assert {("rights", "gaps"), ("limits", "mirror topics"), ("runner", LINK)} <= told
    clock = next(row for row in rows if row["check"] == "destination" and row["subject"] == "clock")
    assert "the controller's is" in clock["message"]  # the same machine: well within the limit
    assert link.kmirror.links_file.read_bytes() == recorded


def test_what_is_broken_is_found(link, east, west, topic_name):
    create_topic(east.bootstrap_servers, topic_name)
    link.mirror(topic_name, "--no-start")
    set_topic_config(west, topic_name, "max.message.bytes", "1000")
    set_topic_config(west, topic_name, "min.insync.replicas", "2")
    (link.kmirror.home / "run" / "gone").mkdir(parents=True)

    rows = examined(link, 1)

    found = not_ok(rows)
    assert ("runner", LINK, "fail") in found
    assert ("limits", f"topic {topic_name}", "fail") in found
    assert [row["action"].split()[1] for row in rows if row["check"] == "limits"] == [
        "max.message.bytes=1048588",
        "min.insync.replicas=1",
    ]
    assert [subject.rsplit("/", 1)[1] for check, subject, _ in found if check == "folder"] == ["gone"]


def test_the_wrong_cluster_is_told(link, east):
    text = link.kmirror.links_file.read_text()
    link.kmirror.links_file.write_text(text.replace(link.destination.bootstrap_servers, east.bootstrap_servers))

    rows = examined(link, 1)

    assert ("destination", "cluster id", "fail") in not_ok(rows)
