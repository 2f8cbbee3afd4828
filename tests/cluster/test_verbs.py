"""The verbs on real clusters: what they print, what they change, and that wrong words change nothing."""

import json
import os
import pty
import signal
import socket
import subprocess
import sys
import threading

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import NewPartitions

from kmirror.sandbox import KafkaCluster
from support.mirrors import TestLink, admin, delete_topic, ends, topic_configs
from support.traffic import Record, Traffic, create_topic, produce
from support.wait import eventually

LINK = "east-west"
ROW_KEYS = [
    "mirror_topic_name",
    "partition",
    "partition_mirror_lag",
    "last_source_fetch_offset",
    "error_message",
    "error_code",
]


@pytest.fixture
def link(kmirror, east, west) -> TestLink:
    return TestLink(kmirror, east, west).create()


def topics_of(*clusters: KafkaCluster) -> list[set[str]]:
    return [set(admin(cluster).list_topics(timeout=20).topics) for cluster in clusters]


def fill(cluster: KafkaCluster, topic: str, count: int, partitions: int = 1) -> None:
    records = (Record(b"key", b"%d" % n, partition=n % partitions) for n in range(count))
    produce(cluster.bootstrap_servers, topic, records)


# --- bad input, row by row


@pytest.fixture(scope="module")
def topics(east, west) -> None:
    """Names that the rows below speak of."""
    create_topic(east.bootstrap_servers, "bad-input-source")
    create_topic(east.bootstrap_servers, "bad-input-taken")
    create_topic(west.bootstrap_servers, "bad-input-taken")
    create_topic(east.bootstrap_servers, "bad-input-isr", config={"min.insync.replicas": "2"})


@pytest.fixture(scope="module")
def mute():
    """A server that takes connections, as any that is no Kafka, and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        held = []

        def accept() -> None:
            while True:
                try:
                    held.append(server.accept())
                except OSError:
                    return

        threading.Thread(target=accept, daemon=True).start()
        yield f"127.0.0.1:{server.getsockname()[1]}"


CREATE = ("mirror", "create")
ROWS = [
    (("link", "create", "x", "-s", "EAST", "-d", "EAST"), 1, "are the same cluster"),
    (("link", "create", LINK, "-s", "EAST", "-d", "WEST"), 1, f'cluster link "{LINK}" already exists'),
    (("link", "create", "x", "-s", "MUTE", "-d", "WEST"), 1, "the source cluster at MUTE does not answer"),
    (("link", "create", "x", "-s", "EAST", "-d", "MUTE"), 1, "the destination cluster at MUTE does not answer"),
    (("link", "create", "x", "-s", "EAST", "-d", "127.0.0.1:1"), 1, "the destination cluster cannot be reached"),
    (("link", "create", "x", "-s", "nohost.invalid:1", "-d", "WEST"), 1, "unknown host name"),
    (("link", "create", "x", "-s", "EAST", "-d", "WEST", "--config", "gap.fill.mode=x"), 2, '"x" is not "auto"'),
    (("link", "create", "x", "-s", "EAST", "-d", "127.0.0.1"), 2, '"127.0.0.1" is not host:port'),
    (("link", "create", "a b", "-s", "EAST", "-d", "WEST"), 2, "may hold only letters"),
    ((*CREATE, "bad-input-sourse", "-l"), 1, "Did you mean bad-input-source"),
    ((*CREATE, "bad-input-nothing-like-it", "-l"), 1, "not found on the source cluster"),
    ((*CREATE, "bad-input-taken", "-l"), 1, 'topic "bad-input-taken" already exists'),
    ((*CREATE, "bad-input-taken", "--source-topic", "bad-input-source", "-l"), 1, "--source-topic bad-input-source"),
    ((*CREATE, "bad-input-isr", "-l"), 2, "min.insync.replicas is 2, but the mirror topic would have 1 replicas"),
    ((*CREATE, "bad-input-source", "-l", "--replication-factor", "2"), 1, "INVALID_REPLICATION_FACTOR"),
    ((*CREATE, "bad-input-source", "-l", "--replication-factor", "0"), 2, "--replication-factor"),
    ((*CREATE, "bad-input-source", "-l", "--config", "no.such=1"), 1, "Unknown topic config name: no.such"),
    ((*CREATE, "bad-input-source", "-l", "--config", "retention.ms=x"), 1, "Invalid value x"),
    ((*CREATE, "bad-input-source", "-l", "--config", "cleanup.policy=compact"), 2, "cannot be chosen"),
    ((*CREATE, "bad-input-source", "-l", "--config", "compression.type=zstd"), 2, "cannot be chosen"),
    ((*CREATE, "bad-input-source", "-l", "--config", "nonsense"), 2, "configuration: nonsense"),
    ((*CREATE, "bad-input-source", "--link", "nope"), 1, 'cluster link "nope" not found'),
    ((*CREATE, "bad-input-source", "-l", "--output", "xml"), 2, "'xml' is not one of"),
    ((*CREATE, "a b", "-l"), 2, 'topic name "a b"'),
    ((*CREATE, "t" * 250, "-l"), 2, "longer than 249"),
    ((*CREATE, "__consumer_offsets", "-l"), 2, "is internal"),
    (("mirror", "describe", "nope", "-l"), 1, f'mirror topic "nope" not found on link "{LINK}"'),
    (("mirror", "promote", "nope", "-l"), 1, f'mirror topic "nope" not found on link "{LINK}"'),
    (("mirror", "failover", "nope", "-l"), 1, f'mirror topic "nope" not found on link "{LINK}"'),
    (("mirror", "pause", "nope", "-l", "-o", "json"), 1, f'mirror topic "nope" not found on link "{LINK}"'),
    (("link", "delete", LINK), 2, "--force"),
    (("link", "delete", LINK, "nope", "--force"), 1, 'cluster link "nope" not found'),
]


@pytest.mark.parametrize(("words", "code", "told"), ROWS, ids=[" ".join(row[0])[:80] for row in ROWS])
@pytest.mark.usefixtures("topics")
def test_wrong_words_change_nothing(words, code, told, link, mute):
    east, west = link.source, link.destination
    addresses = {"EAST": east.bootstrap_servers, "WEST": west.bootstrap_servers, "MUTE": mute}
    short = {"-s": ("--source-bootstrap-server",), "-d": ("--destination-bootstrap-server",), "-l": ("--link", LINK)}
    given = [word for w in words for word in short.get(w, (addresses.get(w, w),))]
    recorded = link.kmirror.links_file.read_bytes()
    there = topics_of(east, west)

    said = link.kmirror.fails(*given, code=code, timeout=12)  # a machine that is busy needs 2 s for our own start

    assert told.replace("MUTE", mute) in said
    assert link.kmirror.links_file.read_bytes() == recorded
    assert topics_of(east, west) == there
    assert not link.kmirror.runner_pids()


# --- links


def test_a_link_knows_both_clusters(link, east, west):
    described = link.kmirror.json("link", "describe", LINK)

    clients = [admin(cluster) for cluster in (east, west)]
    ids = [client.describe_cluster().result(20).cluster_id for client in clients]
    assert [described["source_cluster"], described["destination_cluster"]] == ids
    assert described["gap_fill"] == "markers"
    assert described["state"] == "UNKNOWN"


def test_a_dry_run_of_a_link_stores_nothing(kmirror, east, west):
    brokers = (
        "--source-bootstrap-server",
        east.bootstrap_servers,
        "--destination-bootstrap-server",
        west.bootstrap_servers,
    )

    told = kmirror.run("link", "create", "l", *brokers, "--dry-run").stdout

    assert told.splitlines()[0] == '[DRY RUN] Created cluster link "l" with configs:'
    assert not kmirror.links_file.exists()


def test_start_stop_and_logs(link):
    first = link.kmirror.json("link", "start", LINK)
    again = link.kmirror.json("link", "start", LINK)

    assert first["already_running"] is False
    assert (again["already_running"], again["runner_pid"]) == (True, first["runner_pid"])
    assert link.kmirror.json("status")[0]["runner_pid"] == first["runner_pid"]
    assert f"pid={first['runner_pid']}" in link.kmirror.run("link", "logs", LINK).stdout
    assert link.kmirror.json("link", "stop", LINK) == {"link_name": LINK, "already_stopped": False}
    assert link.kmirror.json("link", "stop", LINK) == {"link_name": LINK, "already_stopped": True}
    assert link.kmirror.runner_pids() == {}


def test_logs_are_followed_until_ctrl_c(link):
    link.start()
    process = link.kmirror.start("link", "logs", LINK, "-f")
    output = link.kmirror.home.with_name(f"{link.kmirror.home.name}-foreground-0.log")

    eventually(lambda: "runner begins" in output.read_text(), 10)
    link.stop()
    eventually(lambda: output.read_text().count("\n") > 1, 10, "what is logged later")
    process.send_signal(signal.SIGINT)

    assert process.wait(10) == 0


def test_the_foreground_ends_cleanly(link):
    process = link.kmirror.start("link", "run", LINK)
    eventually(lambda: link.kmirror.runner_pid(LINK) == process.pid, 15)

    assert f"already running on this machine (pid {process.pid})" in link.kmirror.fails("link", "run", LINK)
    process.terminate()

    assert process.wait(10) == 0
    assert link.kmirror.runner_pid(LINK) is None


def test_a_link_with_live_mirrors_is_not_deleted_unless_forced(link, topic_name):
    create_topic(link.source.bootstrap_servers, topic_name)
    link.mirror(topic_name)

    said = link.kmirror.fails("link", "delete", LINK)
    assert f"still has mirror topics: {topic_name}" in said
    assert link.pid
    assert link.kmirror.run("link", "delete", LINK, "--force").stdout == f'Deleted cluster link "{LINK}".\n'

    assert link.kmirror.runner_pid(LINK) is None
    assert not link.kmirror.runtime(LINK).exists()
    assert link.kmirror.json("link", "list") == []
    assert topic_name in topics_of(link.destination)[0]


@pytest.mark.parametrize(("answer", "kept"), [("n", True), ("maybe\nn", True), ("y", False)])
def test_a_terminal_is_asked_before_a_link_is_deleted(link, answer, kept):
    terminal, side = pty.openpty()
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "kmirror", "link", "delete", LINK],
            env=link.kmirror.environment,
            stdin=side,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        os.write(terminal, f"{answer}\n".encode())
        out, err = process.communicate(timeout=20)
    finally:
        os.close(terminal)
        os.close(side)

    assert process.returncode == 0
    assert f'Are you sure you want to delete cluster link "{LINK}"? (y/n): ' in err
    assert out == ("" if kept else f'Deleted cluster link "{LINK}".\n')
    assert [row["link_name"] for row in link.kmirror.json("link", "list")] == ([LINK] if kept else [])


# --- the topic of a mirror


CONFIGS = {
    "retention.ms": "-1",
    "cleanup.policy": "compact,delete",
    "compression.type": "zstd",
    "message.timestamp.after.max.ms": "1000000000000",
    "max.message.bytes": "500000",
    "segment.bytes": "1048576",
}


def test_a_mirror_gets_partitions_and_configs_and_at_last_all_of_them(link, topic_name):
    create_topic(link.source.bootstrap_servers, topic_name, partitions=3, config=CONFIGS)

    link.mirror(topic_name, "--config", "delete.retention.ms=1234")
    meanwhile = topic_configs(link.destination, topic_name)
    link.verb("promote", topic_name)

    assert len(ends(link.destination, topic_name)) == 3
    differing = {"compression.type": "producer", "max.message.bytes": "1048588", "delete.retention.ms": "1234"}
    longest = {f"message.timestamp.{end}.max.ms": str(2**63 - 1) for end in ("before", "after")}
    source = topic_configs(link.source, topic_name)
    assert meanwhile == {**source, **differing, **longest}
    assert topic_configs(link.destination, topic_name) == {**source, "delete.retention.ms": "1234"}


def test_defaults_of_other_brokers_do_not_reach_the_mirror(kmirror, east, own_cluster, topic_name):
    hasty = own_cluster("hasty", properties={"log.retention.ms": "60000", "log.cleanup.policy": "compact"})
    create_topic(east.bootstrap_servers, topic_name)

    TestLink(kmirror, east, hasty).create().mirror(topic_name, "--no-start")

    found, wanted = topic_configs(hasty, topic_name), topic_configs(east, topic_name)
    keys = ("retention.ms", "cleanup.policy", "segment.ms")
    assert [found[k] for k in keys] == [wanted[k] for k in keys]


def test_another_name_and_a_runner_started_later(link, topic_name):
    create_topic(link.source.bootstrap_servers, topic_name)
    fill(link.source, topic_name, 10)
    renamed = f"copy.of.{topic_name}"

    made = link.kmirror.run("mirror", "create", renamed, "--source-topic", topic_name, "--link", LINK, "--no-start")
    shown = link.kmirror.run("mirror", "describe", renamed, "--link", LINK)

    assert made.stdout == f'Created mirror topic "{renamed}".\n'
    assert (
        f'no runner of link "{LINK}" runs, nothing is copied. Start it with `kmirror link start {LINK}`' in shown.stderr
    )
    assert link.kmirror.runner_pids() == {}
    link.start()
    assert link.assert_exact(renamed, topic_name) == 10


def test_a_mirror_in_the_foreground(link, topic_name):
    create_topic(link.source.bootstrap_servers, topic_name)
    fill(link.source, topic_name, 10)

    process = link.kmirror.start("mirror", "create", topic_name, "--link", LINK, "--foreground")
    link.kmirror_pid = process.pid
    eventually(lambda: topic_name in topics_of(link.destination)[0], 20)
    link.await_caught_up(topic_name)
    assert link.pid == process.pid
    process.terminate()

    assert process.wait(10) == 0


def test_a_mirror_that_is_over_may_be_made_anew_once_its_topic_is_gone(link, topic_name):
    create_topic(link.source.bootstrap_servers, topic_name)
    link.mirror(topic_name)
    said = link.kmirror.fails("mirror", "create", topic_name, "--link", LINK)
    assert f'topic "{topic_name}" is already a mirror of link "{LINK}"' in said
    link.verb("failover", topic_name)
    assert "already exists" in link.kmirror.fails("mirror", "create", topic_name, "--link", LINK)
    delete_topic(link.destination, topic_name)
    fill(link.source, topic_name, 5)

    link.mirror(topic_name)

    assert link.assert_exact(topic_name) == 5


# --- pause and resume


def test_what_is_paused_does_not_move(link, topic_name):
    create_topic(link.source.bootstrap_servers, topic_name)
    fill(link.source, topic_name, 10)
    link.mirror(topic_name)
    link.await_caught_up(topic_name)

    rows = link.verb("pause", topic_name, options=("--wait",))
    fill(link.source, topic_name, 10)
    assert link.status(topic_name) == "PAUSED"
    assert list(rows[0])[:6] == ROW_KEYS
    assert [rows[0]["mirror_status"], rows[0]["last_source_fetch_offset"]] == ["PAUSED", 10]
    link.verb("pause", topic_name)  # twice is done, not refused
    assert link.mirror_ends(topic_name) == {0: 10}
    link.verb("resume", topic_name, options=("--wait",))

    link.await_status(topic_name, "ACTIVE")
    assert link.assert_exact(topic_name) == 20


def test_resume_starts_a_runner(link, topic_name):
    create_topic(link.source.bootstrap_servers, topic_name)
    link.mirror(topic_name, "--no-start")
    link.verb("pause", topic_name, options=("--wait",))
    assert link.kmirror.runner_pids() == {}

    link.verb("resume", topic_name, options=("--wait",))

    assert link.pid


# --- promote


def test_promote_under_traffic_that_goes_on(link, topic_name):
    create_topic(link.source.bootstrap_servers, topic_name, partitions=2)
    link.mirror(topic_name)
    with Traffic(link.source.bootstrap_servers, topic_name, rate=2_000) as traffic:
        eventually(lambda: traffic.acked > 2_000, 20)
        told = link.kmirror.run("mirror", "promote", topic_name, "--link", LINK).stdout
    stopped_at = link.mirror_ends(topic_name)

    assert f'Mirror topic "{topic_name}" is STOPPED.' in told
    assert "later records were left behind at the source." in told
    left = sum(ends(link.source, topic_name).values()) - sum(stopped_at.values())
    assert left > 0
    assert link.status(topic_name) == "STOPPED"
    fill(link.destination, topic_name, 1)  # it is a topic of its own now
    assert sum(link.mirror_ends(topic_name).values()) == sum(stopped_at.values()) + 1


def test_promote_tells_its_target_and_what_was_left(link, topic_name):
    create_topic(link.source.bootstrap_servers, topic_name, partitions=2)
    fill(link.source, topic_name, 20, partitions=2)
    link.mirror(topic_name)

    dry = link.verb("promote", topic_name, options=("--dry-run",))
    link.await_status(topic_name, "ACTIVE")
    rows = link.verb("promote", topic_name)

    assert [row["target_offset"] for row in dry] == [10, 10]
    assert [row["mirror_status"] for row in dry] == ["ACTIVE", "ACTIVE"]
    assert [list(row.values()) for row in rows] == [[topic_name, p, 0, 10, "", "", "STOPPED", 10, 0] for p in (0, 1)]
    again = link.kmirror.fails("mirror", "promote", topic_name, "--link", LINK)
    assert f'topic "{topic_name}" has already stopped its mirror from "{LINK}"' in again


def test_no_wait_returns_at_once_and_a_later_promote_keeps_the_target(link, topic_name):
    create_topic(link.source.bootstrap_servers, topic_name)
    fill(link.source, topic_name, 10)
    link.mirror(topic_name)
    link.await_caught_up(topic_name)
    os.kill(link.pid, signal.SIGSTOP)

    rows = link.verb("promote", topic_name, options=("--no-wait",))
    fill(link.source, topic_name, 10)
    late = link.kmirror.fails("mirror", "promote", topic_name, "--link", LINK, "--timeout", "2s", code=4)
    recorded = link.kmirror.json("mirror", "list")[0]["mirror_status"]
    os.kill(link.pid, signal.SIGCONT)

    assert rows[0]["mirror_status"] == "PENDING_STOPPED"
    assert "is not STOPPED after 2 s, it stays PENDING_STOPPED" in late
    assert recorded == "PENDING_STOPPED"
    link.await_status(topic_name, "STOPPED")
    assert 10 <= link.mirror_ends(topic_name)[0] <= 20


def test_promote_needs_the_source_and_failover_does_not(kmirror, west, own_cluster, topic_name):
    doomed = own_cluster("doomed")
    link = TestLink(kmirror, doomed, west).create()
    create_topic(doomed.bootstrap_servers, topic_name, partitions=2)
    fill(doomed, topic_name, 10, partitions=2)
    link.mirror(topic_name)
    link.await_shown(topic_name, lambda rows: all(r["last_source_fetch_offset"] == 5 for r in rows), "is copied")
    doomed.kill()
    recorded = kmirror.links_file.read_bytes()

    refused = kmirror.fails("mirror", "promote", topic_name, "--link", LINK, timeout=20)
    assert "the source cluster cannot be reached" in refused
    assert kmirror.links_file.read_bytes() == recorded
    told = kmirror.run("mirror", "failover", topic_name, "--link", LINK, timeout=40).stdout

    assert "0 records are known not to have been copied (as of " in told
    assert f'Mirror topic "{topic_name}" is STOPPED.' in told
    assert link.mirror_ends(topic_name) == {0: 5, 1: 5}


def test_failover_tells_what_was_not_copied(link, topic_name):
    create_topic(link.source.bootstrap_servers, topic_name)
    fill(link.source, topic_name, 10)
    link.mirror(topic_name)
    link.await_caught_up(topic_name)
    link.verb("pause", topic_name, options=("--wait",))
    fill(link.source, topic_name, 7)

    dry = link.verb("failover", topic_name, options=("--dry-run",))
    assert link.status(topic_name) == "PAUSED"
    rows = link.verb("failover", topic_name)

    assert [dry[0]["records_left_behind"], rows[0]["records_left_behind"]] == [7, 7]
    assert rows[0]["mirror_status"] == "STOPPED"
    assert link.mirror_ends(topic_name) == {0: 10}


def test_one_topic_that_fails_does_not_stop_the_others(link, topic_name):
    create_topic(link.source.bootstrap_servers, topic_name)
    link.mirror(topic_name)

    done = link.kmirror.run("mirror", "promote", "nope", topic_name, "--link", LINK, "-o", "json", check=False)

    rows = json.loads(done.stdout)
    assert done.returncode == 1
    assert list(rows[0].values())[:6] == [
        "nope",
        -1,
        -1,
        -1,
        f'mirror topic "nope" not found on link "{LINK}"',
        "UNKNOWN_TOPIC_OR_PARTITION_ERROR",
    ]
    assert [rows[1]["mirror_topic_name"], rows[1]["mirror_status"], rows[1]["error_code"]] == [
        topic_name,
        "STOPPED",
        "",
    ]


def test_partitions_that_came_last_are_promoted_too(link, topic_name):
    """Their records were at the source when promote was asked for, whether the runner knew them or not."""
    create_topic(link.source.bootstrap_servers, topic_name)
    link.mirror(topic_name)
    link.await_status(topic_name, "ACTIVE")
    os.kill(link.pid, signal.SIGSTOP)
    client = admin(link.source)
    client.create_partitions([NewPartitions(topic_name, 3)])[topic_name].result(20)
    eventually(lambda: len(ends(link.source, topic_name)) == 3, 20)
    eventually(lambda: fill(link.source, topic_name, 9, partitions=3) is None, 20)
    link.verb("promote", topic_name, options=("--no-wait",))
    os.kill(link.pid, signal.SIGCONT)

    link.await_status(topic_name, "STOPPED")

    assert link.mirror_ends(topic_name) == ends(link.source, topic_name)


def test_an_open_transaction_does_not_hold_a_promote_up(link, topic_name):
    create_topic(link.source.bootstrap_servers, topic_name)
    fill(link.source, topic_name, 5)
    link.mirror(topic_name)
    producer = Producer({"bootstrap.servers": link.source.bootstrap_servers, "transactional.id": topic_name})
    producer.init_transactions(20)
    producer.begin_transaction()
    producer.produce(topic_name, b"undecided")
    producer.flush(20)

    rows = link.verb("promote", topic_name)
    producer.abort_transaction(20)

    assert [rows[0]["target_offset"], rows[0]["mirror_status"]] == [5, "STOPPED"]
    assert link.mirror_ends(topic_name) == {0: 5}
