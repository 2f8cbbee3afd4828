"""`link run --workers`: the partitions of a link on several processes, exact by the oracle as on one."""

import json
import os
import shutil
import signal
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from kmirror.process.shares import owner_of
from kmirror.sandbox import KafkaCluster
from support.kmirror_cli import Kmirror
from support.mirrors import TestLink, add_partitions, ends
from support.processes import freeze
from support.traffic import Record, Traffic, create_topic, produce, sized
from support.transactions import transaction
from support.wait import eventually

WORKERS = 2
CATCHES_UP = {"topic.metadata.refresh.interval.ms": 300}


@pytest.fixture
def link(kmirror: Kmirror, east: KafkaCluster, west: KafkaCluster) -> TestLink:
    return TestLink(kmirror, east, west).create()


def start(link: TestLink) -> list[int]:
    """Returns the pids of the workers, by their number."""
    link.kmirror.run("link", "start", link.name, "--workers", str(WORKERS))
    return worker_pids(link)


def worker_pids(link: TestLink) -> list[int]:
    eventually(lambda: len(link.kmirror.workers()) == WORKERS, 20, lambda: f"its workers run\n{link.log()}")
    return [process.pid for process in link.kmirror.workers()]


def mirrored(link: TestLink, topic: str, partitions: int, *, records: int = 2_000) -> None:
    """A topic with some records, and its mirror, which nobody copies yet."""
    create_topic(link.source.bootstrap_servers, topic, partitions)
    if records:
        produce(link.source.bootstrap_servers, topic, sized(records, partitions=partitions))
    link.mirror(topic, "--no-start")


@contextmanager
def transactions(link: TestLink, topic: str, partitions: int) -> Iterator[None]:
    """Before and behind the block: committed and aborted ones, so that there are gaps in every partition."""
    for turn in range(2):
        for commit in (True, False):
            records = [Record(b"k", b"%d %d" % (turn, n), partition=n % partitions) for n in range(5 * partitions)]
            transaction(link.source.bootstrap_servers, topic, records, commit=commit)
        if not turn:
            yield


def await_more(cluster: KafkaCluster, topic: str, records: int) -> None:
    before = sum(ends(cluster, topic).values())
    eventually(lambda: sum(ends(cluster, topic).values()) >= before + records, 30, f"{records} more records")


def test_several_topics_under_traffic(link: TestLink, topic_name: str) -> None:
    """One hot topic of many partitions, one of a single one, transactions, and partitions that come meanwhile."""
    hot, single, gaps = (f"{topic_name}-{name}" for name in ("hot", "single", "gaps"))
    for topic, partitions in ((hot, 5), (single, 1), (gaps, 3)):
        mirrored(link, topic, partitions)
    assert {owner_of(hot, p, WORKERS) for p in range(5)} == {0, 1}, "a hot topic is shared"
    with ExitStack() as traffic:
        writers = [
            traffic.enter_context(Traffic(link.source.bootstrap_servers, topic, rate=2_000, config=CATCHES_UP))
            for topic in (hot, single)
        ]
        with transactions(link, gaps, 3):
            start(link)
            link.await_beyond(hot, dict.fromkeys(range(5), 500))
            add_partitions(link.source, hot, 8)
            eventually(lambda: len(link.mirror_ends(hot)) == 8, 30, lambda: f"eight partitions\n{link.log()}")
            link.await_beyond(hot, dict.fromkeys(range(8), 0))
        acked = [writer.stop() for writer in writers]
    assert link.assert_exact(hot) == 2_000 + acked[0]
    assert link.assert_exact(single) == 2_000 + acked[1]
    assert link.assert_exact(gaps) == 2_000 + 2 * 15
    rows = link.await_shown(hot, lambda rows: {r["partition_mirror_lag"] for r in rows} == {0}, "has no lag")
    assert [row["partition"] for row in rows] == list(range(8))
    assert {row["mirror_status"] for row in rows} == {"ACTIVE"}
    link.stop()
    assert not link.kmirror.workers()


def test_promote_and_failover_under_traffic(link: TestLink, topic_name: str) -> None:
    promoted, failed_over = f"{topic_name}-promoted", f"{topic_name}-failed-over"
    mirrored(link, promoted, 4)
    mirrored(link, failed_over, 4)
    start(link)
    with (
        Traffic(link.source.bootstrap_servers, promoted, rate=2_000),
        Traffic(link.source.bootstrap_servers, failed_over, rate=2_000),
    ):
        for topic in (promoted, failed_over):
            link.await_beyond(topic, dict.fromkeys(range(4), 100))
        rows = link.verb("promote", promoted)
        link.verb("failover", failed_over)
        stopped = {topic: link.mirror_ends(topic) for topic in (promoted, failed_over)}
        link.await_status(promoted, "STOPPED")
    for row in rows:
        assert stopped[promoted][row["partition"]] >= row["target_offset"]
    for topic, upto in stopped.items():
        link.compare(topic, upto=upto)
        assert link.mirror_ends(topic) == upto, "nothing is appended any more"
    produce(link.destination.bootstrap_servers, promoted, [Record(b"k", b"its own")], partition=2)


def test_pause_and_resume(link: TestLink, topic_name: str) -> None:
    mirrored(link, topic_name, 4)
    start(link)
    with Traffic(link.source.bootstrap_servers, topic_name, rate=2_000) as traffic:
        link.await_beyond(topic_name, dict.fromkeys(range(4), 100))
        for kind, *rest in (("mirror", topic_name, "--link", link.name), ("link", link.name)):
            link.kmirror.run(kind, "pause", *rest)
            await_more(link.source, topic_name, 500)  # what was on its way when it was halted has landed by then
            halted = link.mirror_ends(topic_name)
            await_more(link.source, topic_name, 500)
            assert link.mirror_ends(topic_name) == halted
            link.kmirror.run(kind, "resume", *rest)
            link.await_beyond(topic_name, halted)
        acked = traffic.stop()
    assert link.assert_exact(topic_name) == 2_000 + acked


def test_gaps_by_empty_transactions(kmirror: Kmirror, east: KafkaCluster, west: KafkaCluster, topic_name: str) -> None:
    """Those of the link itself are one at a time, whichever worker needs them."""
    link = TestLink(kmirror, east, west).create("gap.fill.mode=transactions")
    mirrored(link, topic_name, 4)
    with transactions(link, topic_name, 4):
        start(link)
        link.await_beyond(topic_name, dict.fromkeys(range(4), 500))
    assert link.assert_exact(topic_name) == 2_000 + 2 * 20
    link.verb("promote", topic_name)
    produce(west.bootstrap_servers, topic_name, [Record(b"k", b"its own")], partition=1)


def test_one_partition_that_fails_ends_the_mirror_in_all(link: TestLink, topic_name: str) -> None:
    """And a failover makes it a topic of its own."""
    well = f"{topic_name}-well"
    mirrored(link, topic_name, 4)
    mirrored(link, well, 2)
    start(link)
    with Traffic(link.source.bootstrap_servers, topic_name, rate=1_000):
        link.await_beyond(topic_name, dict.fromkeys(range(4), 100))
        produce(link.destination.bootstrap_servers, topic_name, [Record(b"k", b"somebody else's")], partition=2)
        said = link.await_failed(topic_name, "FOREIGN_WRITER")
        assert "partition 2 " in said
        await_more(link.source, topic_name, 500)
        halted = link.mirror_ends(topic_name)
        await_more(link.source, topic_name, 500)
        assert link.mirror_ends(topic_name) == halted
        link.verb("failover", topic_name)
    link.await_status(topic_name, "STOPPED")
    assert link.mirror_ends(topic_name) == halted
    link.assert_exact(well)


def test_changed_settings_and_new_mirrors_while_running(link: TestLink, topic_name: str) -> None:
    """Settings that need another engine have the workers begin anew; a limit is divided."""
    mirrored(link, topic_name, 4)
    before = start(link)
    with Traffic(link.source.bootstrap_servers, topic_name, rate=2_000) as traffic:
        link.await_beyond(topic_name, dict.fromkeys(range(4), 100))
        link.kmirror.run("link", "configuration", "update", link.name, "--config", "fetch.buffer.bytes=8388608")
        eventually(lambda: not set(before) & {p.pid for p in link.kmirror.workers()}, 30, link.log)
        assert len(worker_pids(link)) == WORKERS
        rate = "cluster.link.io.max.bytes.per.second"
        link.kmirror.run("link", "configuration", "update", link.name, "--config", f"{rate}=1000000")
        other = f"{topic_name}-other"
        create_topic(link.source.bootstrap_servers, other, 3)
        produce(link.source.bootstrap_servers, other, sized(1_000, partitions=3))
        link.mirror(other)
        link.await_beyond(topic_name, link.mirror_ends(topic_name))
        acked = traffic.stop()
    assert link.assert_exact(topic_name) == 2_000 + acked
    assert link.assert_exact(other) == 1_000


def test_another_run_takes_the_link_over(link: TestLink, topic_name: str, tmp_path: Path) -> None:
    """With workers on both sides: the younger one stays, the older one ends with its workers and exit code 5."""
    mirrored(link, topic_name, 4)
    other = Kmirror(tmp_path / "elsewhere")
    with Traffic(link.source.bootstrap_servers, topic_name, rate=1_000) as traffic, transactions(link, topic_name, 4):
        older = link.kmirror.start("link", "run", link.name, "--workers", str(WORKERS))
        worker_pids(link)
        link.await_beyond(topic_name, dict.fromkeys(range(4), 100))
        other.home.mkdir(mode=0o700)
        shutil.copy2(link.kmirror.links_file, other.home / "links.toml")
        younger = other.start("link", "run", link.name, "--workers", str(WORKERS))
        try:
            eventually(lambda: 5 in {older.poll(), younger.poll()}, 60, link.log)
            ended, stays = (older, younger) if older.poll() == 5 else (younger, older)
            assert (ended.poll(), stays.poll()) == (5, None)
            assert not (link.kmirror if ended is older else other).processes()
            link.await_beyond(topic_name, link.mirror_ends(topic_name))
            acked = traffic.stop()
        finally:
            assert not other.stop_all()
            assert not link.kmirror.stop_all()
    start(link)
    assert link.assert_exact(topic_name) == 2_000 + acked + 2 * 20


@pytest.mark.parametrize("who", ["worker", "lead"])
def test_kill_of_one_ends_all_and_the_next_run_is_exact(link: TestLink, topic_name: str, who: str) -> None:
    mirrored(link, topic_name, 4)
    with Traffic(link.source.bootstrap_servers, topic_name, rate=3_000) as traffic, transactions(link, topic_name, 4):
        for turn in range(3):
            pids = start(link)
            lead = link.pid
            link.await_beyond(topic_name, link.mirror_ends(topic_name))
            os.kill(lead if who == "lead" else pids[turn % WORKERS], signal.SIGKILL)
            eventually(lambda: not link.kmirror.processes(), 20, lambda: f"all have ended\n{link.log()}")
        start(link)
        acked = traffic.stop()
    assert link.assert_exact(topic_name) == 2_000 + acked + 2 * 20
    if who == "worker":
        assert "has ended: killed by SIGKILL" in link.log()


def test_a_frozen_lead_has_its_workers_wait(link: TestLink, topic_name: str) -> None:
    """Another run may have taken the link over, and nobody would tell them."""
    mirrored(link, topic_name, 4)
    start(link)
    with Traffic(link.source.bootstrap_servers, topic_name, rate=1_000) as traffic:
        link.await_beyond(topic_name, dict.fromkeys(range(4), 100))
        freeze(link.pid)

        def stands_still() -> bool:
            before = link.mirror_ends(topic_name)
            await_more(link.source, topic_name, 300)
            return link.mirror_ends(topic_name) == before

        eventually(stands_still, 30, "the workers wait")
        os.kill(link.pid, signal.SIGCONT)
        link.await_beyond(topic_name, link.mirror_ends(topic_name))
        acked = traffic.stop()
    assert link.assert_exact(topic_name) == 2_000 + acked


def test_status_and_metrics_are_joined(link: TestLink, topic_name: str, free_ports: tuple[str, str]) -> None:
    mirrored(link, topic_name, 4)
    address = f"127.0.0.1:{free_ports[0]}"
    link.kmirror.run("link", "start", link.name, "--workers", str(WORKERS), "--metrics-addr", address)
    assert link.assert_exact(topic_name) == 2_000

    def told() -> str:
        with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as answer:
            return answer.read().decode()

    wanted = f'kmirror_mirror_records_total{{link="{link.name}",topic="{topic_name}"}} 2000.0'
    eventually(lambda: wanted in told(), 20, told)
    status = json.loads((link.kmirror.runtime(link.name) / "status.json").read_text())
    (mirror,) = status["mirrors"].values()
    assert [p["partition"] for p in mirror["partitions"]] == [0, 1, 2, 3]
    assert {p["state"] for p in mirror["partitions"]} == {"COPYING"}
    assert status["pid"] == link.pid
    assert status["run_token"] is not None


@pytest.mark.parametrize("number", ["0", "-1", "two", "65"])
@pytest.mark.parametrize("verb", ["run", "start"])
def test_a_bad_number_of_workers(link: TestLink, verb: str, number: str) -> None:
    said = link.kmirror.fails("link", verb, link.name, "--workers", number, code=2)
    assert "--workers" in said
    assert not link.kmirror.runner_pids()
