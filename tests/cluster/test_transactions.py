"""Gaps filled by empty transactions, where the destination takes no markers from a client: judged by the oracle.

The rules of engine/transactions.py under kills, cut connections, late bytes, a second runner and brokers that restart.
"""

import os
import random
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from kafka.protocol.admin import DescribeTransactionsRequest, DescribeTransactionsResponse
from kafka.protocol.producer import InitProducerIdRequest, InitProducerIdResponse

from kmirror.sandbox import KafkaCluster
from support import guarded
from support.difference import What
from support.guarded import GuardedCluster
from support.kmirror_cli import Kmirror
from support.last_values import all_records
from support.mirrors import QUICK, TestLink, ends
from support.proxy import Fault, ProxiedCluster, Proxy
from support.raw import call, write_markers
from support.short_lived import short_lived
from support.traffic import Record, create_topic, produce, turn_ms
from support.transactions import delete_records, transaction
from support.wait import eventually

PRODUCE = 0
INIT_PRODUCER_ID, ADD_PARTITIONS, END_TRANSACTION = 22, 24, 26
SUPERSEDED = 5
BY_TRANSACTIONS = "gap.fill.mode=transactions"


@pytest.fixture(scope="module")
def locked(nothing_left_behind: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GuardedCluster]:
    """A destination whose clients have rights on topics and on kmirror's transactional ids, none on the cluster."""
    directory = tmp_path_factory.mktemp("locked")
    with short_lived(GuardedCluster("locked", directory)) as cluster:
        cluster.grant([guarded.TRANSACTIONS])
        yield cluster
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="module")
def link(module_home: Kmirror, east: KafkaCluster, locked: GuardedCluster) -> TestLink:
    return TestLink(module_home, east, locked, "locked").create()


@pytest.fixture(scope="module")
def proxied_link(module_home: Kmirror, east: KafkaCluster, proxied: ProxiedCluster) -> TestLink:
    """It could write markers, and is told not to."""
    return through_proxy(TestLink(module_home, east, proxied, "proxied"))


def through_proxy(link: TestLink) -> TestLink:
    link.kmirror.run(
        *("link", "create", link.name),
        *("--source-bootstrap-server", link.source.bootstrap_servers),
        *("--destination-bootstrap-server", link.destination.proxied_servers),
        *("--config", f"{QUICK},{BY_TRANSACTIONS}"),
    )
    return link


def proxy_of(link: TestLink) -> Proxy:
    assert isinstance(link.destination, ProxiedCluster)
    return link.destination.proxy


@pytest.fixture
def mirrored(proxied_link: TestLink, topic_name: str) -> str:
    """A mirror of two partitions that has five records in each, and took an offset in each by a transaction."""
    create_topic(proxied_link.source.bootstrap_servers, topic_name, 2)
    for partition in range(2):
        produce(proxied_link.source.bootstrap_servers, topic_name, [Record(b"k", b"v")] * 5, partition=partition)
        assert write_markers(proxied_link.source.bootstrap_servers, topic_name, partition=partition) == 0
    proxied_link.mirror(topic_name)
    proxied_link.await_caught_up(topic_name)
    return topic_name


def gap(link: TestLink, topic: str, count: int, *, partition: int = 0, after: int = 3) -> None:
    """Three records, `count` offsets that hold nothing visible, and `after` records."""
    at = link.source.bootstrap_servers
    produce(at, topic, [Record(b"k", b"before")] * 3, partition=partition)
    assert write_markers(at, topic, count, partition=partition) == 0
    produce(at, topic, [Record(b"k", b"after")] * after, partition=partition)


def transactional_id(link: TestLink, topic: str, partition: int = 0) -> str:
    (row,) = [row for row in link.kmirror.json("link", "list") if row["link_name"] == link.name]
    return f"kmirror.{link.name}.{row['link_id']}.{topic}-{partition}"


def claim(cluster: KafkaCluster, name: str) -> int:
    """What the coordinator does by itself when a transaction times out: it is aborted, and its producer fenced."""
    request = InitProducerIdRequest(
        transactional_id=name, transaction_timeout_ms=60_000, producer_id=-1, producer_epoch=-1
    )
    return int(call(cluster.bootstrap_servers, request, InitProducerIdResponse, 2).error_code)


def link_id(link: TestLink) -> str:
    """The transactional id of the link itself, which is the producer of its batches."""
    return transactional_id(link, "").rpartition(".")[0]


def stage_of(cluster: KafkaCluster, name: str) -> str:
    request = DescribeTransactionsRequest(transactional_ids=[name])
    return str(
        call(cluster.bootstrap_servers, request, DescribeTransactionsResponse, 0)
        .transaction_states[0]
        .transaction_state
    )


def test_committed_and_aborted_transactions(link: TestLink, topic_name: str) -> None:
    at = link.source.bootstrap_servers
    create_topic(at, topic_name, 2)
    for number, commit in enumerate((True, False, False, True)):
        records = [Record(b"k", b"%d-%d" % (number, i), partition=i % 2) for i in range(50)]
        transaction(at, topic_name, records, commit=commit)
    link.mirror(topic_name)
    link.assert_exact(topic_name, at_least=100)
    transaction(at, topic_name, [Record(b"k", b"live", partition=1)] * 5)
    transaction(at, topic_name, [Record(b"k", b"live, aborted", partition=1)] * 5, commit=False)
    link.assert_exact(topic_name, at_least=105)


def test_gaps_of_one_and_of_many(link: TestLink, topic_name: str) -> None:
    create_topic(link.source.bootstrap_servers, topic_name, 3)
    for partition, counts in enumerate(((1, 2, 3, 1), (151, 1, 50), (400,))):
        for count in counts:
            gap(link, topic_name, count, partition=partition)
    link.mirror(topic_name)
    link.assert_exact(topic_name, at_least=48)


def test_which_way_a_link_has(kmirror: Kmirror, east: KafkaCluster, locked: GuardedCluster) -> None:
    """It is said when the link is made, and shown; a way that is not allowed is refused, with what to grant."""
    words = (
        *("--source-bootstrap-server", east.bootstrap_servers),
        *("--destination-bootstrap-server", locked.bootstrap_servers),
    )
    said = kmirror.run("link", "create", "auto", *words).stderr
    assert "filled by empty transactions, about" in said
    assert kmirror.json("link", "describe", "auto")["gap_fill"] == "transactions"
    refused = kmirror.fails("link", "create", "none", *words, "--config", "gap.fill.mode=markers")
    assert "--operation Alter --cluster" in refused
    locked.revoke(guarded.TRANSACTIONS)
    try:
        refused = kmirror.fails("link", "create", "none", *words, "--config", BY_TRANSACTIONS)
        assert "--operation Write --transactional-id kmirror.none. --resource-pattern-type prefixed" in refused
        said = kmirror.run("link", "create", "none", *words).stderr
        assert "--operation Write --transactional-id kmirror.none." in said
        assert "--operation Alter --cluster" in said
        assert kmirror.json("link", "describe", "none")["gap_fill"] == "none"
    finally:
        locked.grant([guarded.TRANSACTIONS])


def test_a_link_that_nobody_asked_finds_its_way(
    kmirror: Kmirror, east: KafkaCluster, locked: GuardedCluster, topic_name: str
) -> None:
    """Markers are refused when the first is sent: then transactions, but for a link that is to take markers alone."""
    create_topic(east.bootstrap_servers, topic_name)
    for name, configs in (("auto", QUICK), ("markers", f"{QUICK},gap.fill.mode=markers")):
        link = TestLink(kmirror, east, locked, name)
        kmirror.run(
            *("link", "create", name, "--no-validate", "--config", configs),
            *("--source-bootstrap-server", east.bootstrap_servers),
            *("--destination-bootstrap-server", locked.bootstrap_servers),
        )
        link.mirror(f"{topic_name}-{name}", "--source-topic", topic_name)
        if name == "auto":
            gap(link, topic_name, 7)
            link.assert_exact(f"{topic_name}-{name}", topic_name, at_least=6)
        else:
            said = link.await_failed(f"{topic_name}-{name}", "GAP_NOT_FILLABLE", offset=3)
            assert "ALTER on the cluster" in said


def test_a_compacted_log(link: TestLink, topic_name: str) -> None:
    """Cleaned before it is mirrored: holes between and inside batches, aborted records, tombstones."""
    at = link.source.bootstrap_servers
    configs = {"cleanup.policy": "compact", "segment.ms": "100", "min.cleanable.dirty.ratio": "0.01"}
    create_topic(at, topic_name, config=configs)
    for turn in range(6):
        soon = turn_ms(turn) + 60_000  # later than any marker before it, so that each turn begins a segment
        records = [
            Record(b"key %d" % i, None if (i + turn) % 5 == 0 else b"%d of %d" % (i, turn), timestamp_ms=soon)
            for i in range(20)
        ]
        if turn % 3 == 1:
            transaction(at, topic_name, records, commit=turn % 2 == 1)
        else:
            produce(at, topic_name, records)
    eventually(lambda: len(all_records(at, topic_name)) < 60, 60, "the source compacts", 0.5)
    link.mirror(topic_name)
    link.assert_exact(topic_name, at_least=20)


# --- what breaks ---


@pytest.fixture
def fresh(proxied_link: TestLink, topic_name: str) -> str:
    """A mirror of one partition that took no marker yet: the next one is the link's own."""
    create_topic(proxied_link.source.bootstrap_servers, topic_name)
    produce(proxied_link.source.bootstrap_servers, topic_name, [Record(b"k", b"v")] * 5, partition=0)
    proxied_link.mirror(topic_name)
    proxied_link.await_caught_up(topic_name)
    return topic_name


def test_a_frozen_runners_batch_whose_records_are_gone(
    kmirror: Kmirror, east: KafkaCluster, proxied: ProxiedCluster, topic_name: str
) -> None:
    """It is on its way when its runner freezes, and comes after a younger run has filled the offsets of its records,
    which the source has deleted: its sequence fits, so it is the epoch of the first marker that keeps it out.
    """
    older = through_proxy(TestLink(kmirror, east, proxied, "overtaken"))
    home = kmirror.home.with_name("home-of-another-host")
    home.mkdir(mode=0o700)
    younger = TestLink(Kmirror(home), east, proxied, older.name)
    create_topic(east.bootstrap_servers, topic_name)
    produce(east.bootstrap_servers, topic_name, [Record(b"k", b"kept")] * 20, partition=0)
    older.mirror(topic_name, "--no-start")
    shutil.copy(kmirror.links_file, younger.kmirror.links_file)
    first = kmirror.start("link", "run", older.name)
    older.await_caught_up(topic_name)

    def overtake() -> None:
        os.kill(first.pid, signal.SIGSTOP)
        delete_records(east.bootstrap_servers, topic_name, {0: 40})
        younger.kmirror.start("link", "run", younger.name)
        younger.await_beyond(topic_name, {0: 39})

    fault = proxied.proxy.arm(Fault(api=PRODUCE, cut=False, before=overtake))
    try:
        produce(east.bootstrap_servers, topic_name, [Record(b"k", b"gone")] * 20, partition=0)
        assert fault.met.wait(90)
        produce(east.bootstrap_servers, topic_name, [Record(b"k", b"behind them")] * 20, partition=0)
        younger.await_caught_up(topic_name)
        os.kill(first.pid, signal.SIGCONT)
        produce(east.bootstrap_servers, topic_name, [Record(b"k", b"afterwards")] * 20, partition=0)
        assert first.wait(60) == SUPERSEDED
        younger.assert_exact(topic_name, ignore=[What.LOG_START], at_least=40)
        younger.await_status(topic_name, "ACTIVE")
    finally:
        younger.kmirror.stop_all()


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param({"api": ADD_PARTITIONS, "share": 0.5}, id="in-its-begin"),
        pytest.param({"api": ADD_PARTITIONS, "answer": True, "share": 0.0}, id="behind-its-begin"),
        pytest.param({"api": ADD_PARTITIONS, "late_s": 1.5}, id="a-late-begin"),
        pytest.param({"api": END_TRANSACTION, "share": 0.5}, id="in-its-end"),
        pytest.param({"api": END_TRANSACTION, "answer": True, "share": 0.0}, id="behind-its-end"),
        pytest.param({"api": END_TRANSACTION, "late_s": 1.5}, id="a-late-end"),
    ],
)
@pytest.mark.parametrize("count", [1, 30])
def test_a_connection_that_is_cut_at_a_first_gap(
    proxied_link: TestLink, fresh: str, fault: dict[str, Any], count: int
) -> None:
    """The link's own transaction may be open, committed, or never begun; renewing the run token ends it."""
    met = proxy_of(proxied_link).arm(Fault(**fault)).met
    _meets_and_goes_on(proxied_link, fresh, count, met, at_least=17)


def test_a_runner_killed_in_a_transaction_of_the_link(
    proxied_link: TestLink, proxied: ProxiedCluster, fresh: str
) -> None:
    """The next one takes no offset before the coordinator has ended it."""
    fault = proxied.proxy.arm(Fault(api=END_TRANSACTION, share=0.0, before=proxied_link.kill))
    gap(proxied_link, fresh, 20)
    assert fault.met.wait(30)
    assert stage_of(proxied, link_id(proxied_link)) == "Ongoing"
    proxied_link.start()
    proxied_link.assert_exact(fresh, at_least=11)
    proxied_link.await_status(fresh, "ACTIVE")


def test_a_failover_ends_a_transaction_of_the_link(proxied_link: TestLink, proxied: ProxiedCluster, fresh: str) -> None:
    fault = proxied.proxy.arm(Fault(api=END_TRANSACTION, share=0.0, before=proxied_link.kill))
    gap(proxied_link, fresh, 1)
    assert fault.met.wait(30)
    assert stage_of(proxied, link_id(proxied_link)) == "Ongoing"
    proxied_link.verb("failover", fresh)
    assert stage_of(proxied, link_id(proxied_link)) in {"CompleteAbort", "Empty"}
    assert proxied_link.mirror_ends(fresh)[0] == 9


def test_a_link_that_changes_its_way_and_changes_back(
    kmirror: Kmirror, east: KafkaCluster, west: KafkaCluster, topic_name: str
) -> None:
    """A coordinator's markers are kept out where the link has written its own, and would never be done: it knows."""
    link = TestLink(kmirror, east, west, "ways").create("gap.fill.mode=markers")
    create_topic(east.bootstrap_servers, topic_name, 2)
    gap(link, topic_name, 5)
    link.mirror(topic_name)
    link.await_caught_up(topic_name)
    for way in ("transactions", "markers", "transactions"):
        kmirror.run("link", "configuration", "update", link.name, "--config", f"gap.fill.mode={way}")
        link.stop()
        link.start()
        for partition in range(2):
            gap(link, topic_name, 5, partition=partition)
        link.assert_exact(topic_name, at_least=6)
        link.await_status(topic_name, "ACTIVE")


def test_a_runner_killed_in_the_middle_of_gaps(link: TestLink, topic_name: str) -> None:
    """Time and again, at drawn moments: what it left open is ended before the next one reads where the log ends."""
    create_topic(link.source.bootstrap_servers, topic_name, 4)
    link.mirror(topic_name)
    noise = random.Random(4)
    for _ in range(4):
        before = link.mirror_ends(topic_name)
        for partition in range(4):
            gap(link, topic_name, 300, partition=partition)
        link.await_beyond(topic_name, {3: before[3]})  # the last gap takes seconds from here on
        time.sleep(noise.uniform(0, 0.5))
        link.kill()
        link.start()
    link.assert_exact(topic_name, at_least=24)
    link.await_status(topic_name, "ACTIVE")


@pytest.mark.parametrize(
    ("api", "fault", "count"),
    [
        pytest.param(INIT_PRODUCER_ID, {"share": 1.0}, 1, id="behind-a-claim"),
        pytest.param(INIT_PRODUCER_ID, {"late_s": 1.5}, 40, id="a-late-claim"),
        pytest.param(ADD_PARTITIONS, {"share": 0.5}, 1, id="in-its-begin"),
        pytest.param(ADD_PARTITIONS, {"answer": True, "share": 0.0}, 40, id="behind-its-begin"),
        pytest.param(ADD_PARTITIONS, {"late_s": 1.5}, 1, id="a-late-begin"),
        pytest.param(END_TRANSACTION, {"share": 0.5}, 40, id="in-its-end"),
        pytest.param(END_TRANSACTION, {"answer": True, "share": 0.0}, 1, id="behind-its-end"),
        pytest.param(END_TRANSACTION, {"late_s": 1.5}, 40, id="a-late-end"),
    ],
)
def test_a_connection_that_is_cut(
    proxied_link: TestLink, mirrored: str, api: int, fault: dict[str, float], count: int
) -> None:
    """The transaction may be open, committed, or never begun; late bytes are those of a fenced producer."""
    if api == INIT_PRODUCER_ID:  # a partition that is open has its claim
        proxied_link.kill()
    met = proxy_of(proxied_link).arm(Fault(api=api, **fault)).met
    if api == INIT_PRODUCER_ID:
        proxied_link.start()
    _meets_and_goes_on(proxied_link, mirrored, count, met, at_least=22)


def _meets_and_goes_on(link: TestLink, topic: str, count: int, met: threading.Event, *, at_least: int) -> None:
    """A gap of so many offsets meets the fault, and all is as it should be behind another one."""
    gap(link, topic, count)
    assert met.wait(30)
    link.await_caught_up(topic)
    gap(link, topic, 2)
    link.assert_exact(topic, at_least=at_least)
    link.await_status(topic, "ACTIVE")


@pytest.mark.parametrize(("api", "count"), [(ADD_PARTITIONS, 40), (END_TRANSACTION, 1)])
def test_a_transaction_that_times_out(
    proxied_link: TestLink, proxied: ProxiedCluster, mirrored: str, api: int, count: int
) -> None:
    """Its abort marker takes the offset that its commit marker would have taken."""
    name = transactional_id(proxied_link, mirrored)
    codes = []

    def abort() -> None:
        eventually(lambda: codes.append(claim(proxied, name)) or codes[-1] == 0, 20, "aborted")

    fault = proxied.proxy.arm(Fault(api=api, cut=False, before=abort))
    gap(proxied_link, mirrored, count)
    assert fault.met.wait(30)
    proxied_link.assert_exact(mirrored, at_least=16)
    proxied_link.await_status(mirrored, "ACTIVE")


@pytest.mark.parametrize(
    ("what", "count", "code"),
    [
        ("record", 1, "FOREIGN_WRITER"),
        ("record", 60, "FOREIGN_WRITER"),
        ("marker", 1, "MARKER_OVERRUN"),
        ("marker", 60, None),
    ],
)
def test_somebody_else_writes_while_a_gap_is_filled(
    proxied_link: TestLink, mirrored: str, what: str, count: int, code: str | None
) -> None:
    """A record ends the mirror; a marker is as good as ours unless it lies behind the gap."""
    at = proxied_link.destination.bootstrap_servers

    def intrude() -> None:
        if what == "marker":
            assert write_markers(at, mirrored) == 0
        else:
            produce(at, mirrored, [Record(b"foreign", b"record")], partition=0)
        end = 5 + 1 + 3 + count + 3
        eventually(lambda: ends(proxied_link.source, mirrored)[0] == end, 20, "the source has what follows the gap")

    fault = proxy_of(proxied_link).arm(Fault(api=END_TRANSACTION, cut=False, before=intrude))
    gap(proxied_link, mirrored, count)
    assert fault.met.wait(30)
    if code is None:
        proxied_link.assert_exact(mirrored, at_least=16)
        return
    said = proxied_link.await_failed(mirrored, code)
    assert "somebody else" in said, said
    proxied_link.compare(mirrored, upto={0: 9}, at_least=8)


def test_a_transaction_that_was_left_open(proxied_link: TestLink, proxied: ProxiedCluster, mirrored: str) -> None:
    """The runner dies between both requests. A failover ends the transaction: nothing lands later in what is yours."""
    name = transactional_id(proxied_link, mirrored)
    fault = proxied.proxy.arm(Fault(api=END_TRANSACTION, share=0.0, before=proxied_link.kill))
    gap(proxied_link, mirrored, 1)
    assert fault.met.wait(30)
    assert stage_of(proxied, name) == "Ongoing"
    proxied_link.verb("failover", mirrored)
    assert stage_of(proxied, name) in {"CompleteAbort", "Empty"}
    assert proxied_link.mirror_ends(mirrored)[0] == 10


def test_a_promote_in_the_middle_of_a_gap(link: TestLink, topic_name: str) -> None:
    """It ends at its target, not behind the gap that goes on there."""
    at = link.source.bootstrap_servers
    create_topic(at, topic_name)
    link.mirror(topic_name)
    gap(link, topic_name, 100, after=0)
    link.await_beyond(topic_name, {0: 3})
    link.verb("promote", topic_name)
    assert link.mirror_ends(topic_name) == {0: 103}
    link.compare(topic_name, at_least=3)


def test_a_younger_run_stays(kmirror: Kmirror, east: KafkaCluster, locked: GuardedCluster, topic_name: str) -> None:
    """No clock keeps the older one out: the coordinator refuses what it sends."""
    older = TestLink(kmirror, east, locked, "frozen").create()
    create_topic(east.bootstrap_servers, topic_name, 4)
    older.mirror(topic_name, "--no-start")
    first = kmirror.start("link", "run", older.name)
    home = kmirror.home.with_name("home-of-another-host")
    home.mkdir(mode=0o700)
    shutil.copy(kmirror.links_file, home / "links.toml")
    younger = TestLink(Kmirror(home), east, locked, older.name)
    try:
        for partition in range(4):
            gap(older, topic_name, 200, partition=partition)
        older.await_beyond(topic_name, dict.fromkeys(range(4), 10))
        os.kill(first.pid, signal.SIGSTOP)
        left = older.mirror_ends(topic_name)
        for partition in range(4):
            gap(older, topic_name, 50, partition=partition)
        second = younger.kmirror.start("link", "run", older.name)
        younger.await_beyond(topic_name, left)
        os.kill(first.pid, signal.SIGCONT)
        for partition in range(4):
            gap(older, topic_name, 30 + partition, partition=partition)
        assert first.wait(60) == SUPERSEDED
        younger.assert_exact(topic_name, at_least=48)
        assert second.poll() is None
        younger.await_status(topic_name, "ACTIVE")
    finally:
        younger.kmirror.stop_all()


def test_a_destination_that_restarts_in_the_middle_of_a_gap(
    proxied_link: TestLink, proxied: ProxiedCluster, mirrored: str
) -> None:
    for end in (proxied.kill, proxied.stop_broker):
        before = proxied_link.mirror_ends(mirrored)
        for partition in range(2):
            gap(proxied_link, mirrored, 200, partition=partition)
        proxied_link.await_beyond(mirrored, before)
        end()
        proxied.start_broker()
    proxied_link.assert_exact(mirrored, at_least=22)
    proxied_link.await_status(mirrored, "ACTIVE")
