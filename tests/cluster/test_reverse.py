"""Source and mirror change places under live traffic on both sides: nothing is lost, and nothing is copied anew."""

import os
import signal
import time
import tomllib

import pytest

from support import logs
from support.groups import GroupConsumer
from support.logs import Isolation
from support.mirrors import TestLink, ends, topic_configs
from support.traffic import Record, Traffic, create_topic, produce
from support.transactions import open_transaction, transaction
from support.wait import eventually

LINK = "east-west"
BACK = "east-west-reverse"
REVERSE = ("mirror", "reverse-and-start", "--link", LINK)


@pytest.fixture
def link(kmirror, east, west) -> TestLink:
    return TestLink(kmirror, east, west).create()


def back_of(link: TestLink) -> TestLink:
    return TestLink(link.kmirror, link.destination, link.source, BACK)


def test_there_and_back_under_live_traffic(link, topic_name):
    """Producers write to the primary until they are told to stop, then to the new one; twice, once each way.

    A consumer on each side lives through all of it, and gets every record once, at the same offsets.
    """
    east, west = link.source, link.destination
    create_topic(east.bootstrap_servers, topic_name, 3, config={"retention.ms": "-1", "compression.type": "lz4"})
    with Traffic(east.bootstrap_servers, topic_name, rate=500) as traffic:
        link.mirror(topic_name)
        link.await_beyond(topic_name, {0: 0, 1: 0, 2: 0})
        told = link.kmirror.fails(*REVERSE, topic_name, "--timeout", "3", code=4)
        assert "producers still write to it" in told
        link.await_status(topic_name, "ACTIVE")
    sent = traffic.acked
    with GroupConsumer(east, topic_name, topic_name) as one, GroupConsumer(west, topic_name, topic_name) as other:
        seen = [consumer.read(sent) for consumer in (one, other)]
        rows = link.verb("reverse-and-start", topic_name)
        assert [row["mirror_status"] for row in rows] == ["STOPPED"] * 3
        assert sum(row["last_source_fetch_offset"] for row in rows) == sent
        assert topic_configs(west, topic_name)["compression.type"] == "lz4"
        back = back_of(link)
        back.await_status(topic_name, "ACTIVE")
        with Traffic(west.bootstrap_servers, topic_name, rate=500) as traffic:
            back.await_beyond(topic_name, ends(east, topic_name))
            # The very same links carry it back, with the producer ids that they have had.
            call = link.kmirror.start("mirror", "reverse-and-start", topic_name, "--link", BACK)
            eventually(lambda: recorded(link, topic_name, BACK) == "PENDING_SYNCHRONIZE", 30)
        sent += traffic.acked
        assert call.wait(90) == 0
        assert (back.status(topic_name), link.status(topic_name)) == ("STOPPED", "ACTIVE")
        with Traffic(east.bootstrap_servers, topic_name, rate=500) as traffic:
            link.await_beyond(topic_name, ends(west, topic_name))
        sent += traffic.acked
        assert link.assert_exact(topic_name) == sent
        for consumer, messages in zip((one, other), seen, strict=True):
            messages.extend(consumer.read(sent - len(messages)))
    places = [sorted((m.partition(), m.offset(), m.value()) for m in messages) for messages in seen]
    assert places[0] == places[1]
    assert len({place[:2] for place in places[0]}) == sent


def test_a_source_of_transactions_is_adopted_and_may_wait(link, topic_name):
    """Aborted records stay in the old source's log, where no mirror has any: the tail check knows whose they are."""
    east, west = link.source, link.destination
    create_topic(east.bootstrap_servers, topic_name)
    link.mirror(topic_name)
    transaction(east.bootstrap_servers, topic_name, [Record(b"k", b"committed", partition=0)])
    transaction(east.bootstrap_servers, topic_name, [Record(b"k", b"aborted", partition=0)], commit=False)
    with open_transaction(east.bootstrap_servers, topic_name, [Record(b"k", b"open", partition=0)]):
        told = link.kmirror.fails(*REVERSE, topic_name, "--timeout", "4", code=4)
        assert "a transaction is open at partition 0 offset 4" in told
    before = link.kmirror.links_file.read_bytes()
    row = link.verb("reverse-and-pause", topic_name, options=("--dry-run",))[0]
    assert (row["mirror_status"], row["error_code"]) == ("PENDING_SYNCHRONIZE", "")
    assert link.kmirror.links_file.read_bytes() == before
    link.verb("reverse-and-pause", topic_name)
    back = back_of(link)
    assert back.status(topic_name) == "PAUSED"
    assert link.verb("reverse-and-pause", topic_name)[0]["mirror_status"] == "STOPPED"  # said twice, done once
    transaction(west.bootstrap_servers, topic_name, [Record(b"k", b"at the new primary", partition=0)])
    held = ends(east, topic_name)
    back.verb("resume", topic_name, options=("--wait",))
    back.await_beyond(topic_name, held)
    back.await_caught_up(topic_name)
    shown = logs.Topic(east.bootstrap_servers, topic_name, time.monotonic() + 20)
    theirs = logs.Topic(west.bootstrap_servers, topic_name, time.monotonic() + 20)
    span = {0: range(ends(west, topic_name)[0])}
    assert shown.read(span, Isolation.COMMITTED) == theirs.read(span, Isolation.COMMITTED)
    assert len(shown.read(span, Isolation.COMMITTED)[0].offsets) == 2


def test_killed_in_the_middle_and_a_late_producer(link, topic_name):
    """What a killed call left is gone on with; a record that came to the old source too late is named, not lost."""
    east = link.source
    calm, late = f"{topic_name}-calm", f"{topic_name}-late"
    for topic in (calm, late):
        create_topic(east.bootstrap_servers, topic)
        produce(east.bootstrap_servers, topic, (Record(b"k", b"%d" % n) for n in range(20)))
        link.mirror(topic)
        link.await_caught_up(topic)
    held = link.pid
    os.kill(held, signal.SIGSTOP)
    call = link.kmirror.start(*REVERSE, calm, late)
    try:
        eventually(lambda: all(recorded(link, topic) == "PENDING_STOPPED" for topic in (calm, late)), 30)
    finally:
        call.kill()
        call.wait()
    produce(east.bootstrap_servers, late, [Record(b"k", b"too late")])
    os.kill(held, signal.SIGCONT)
    told = link.kmirror.fails(*REVERSE, calm, late)
    assert f'source topic "{late}" was written to after that (partition 0 offsets 20 to 20)' in told
    assert "truncate-and-restore" in told
    back = back_of(link)
    back.await_status(calm, "ACTIVE")
    assert back.assert_exact(calm) == 20
    link.kmirror.fails("mirror", "describe", late, "--link", BACK)
    assert ends(east, late) == {0: 21}
    (row,) = link.kmirror.json("mirror", "truncate-and-restore", late, "--link", LINK, "--force")
    assert row["messages_truncated"] == 1
    assert back.assert_exact(late) == 20


def recorded(link: TestLink, topic: str, name: str = LINK) -> str:
    return tomllib.loads(link.kmirror.links_file.read_text())["links"][name]["mirrors"][topic]["state"]


def test_what_can_not_be_reversed_is_refused(link, topic_name):
    create_topic(link.source.bootstrap_servers, topic_name)
    link.mirror(topic_name)
    link.verb("pause", topic_name)
    assert "is PAUSED, it cannot reverse" in link.kmirror.fails(*REVERSE, topic_name)
    link.verb("resume", topic_name)
    assert f'cluster link "{LINK}" is not the reverse' in link.kmirror.fails(
        *REVERSE, topic_name, "--reverse-link", LINK
    )
    link.verb("promote", topic_name)
    told = link.kmirror.fails(*REVERSE, topic_name)
    assert f'topic "{topic_name}" has already stopped its mirror from "{LINK}"' in told
