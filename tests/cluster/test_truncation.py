"""A source that loses the end of its log, and goes on with other records: the mirror stops and says where.

One broker is stopped, the logs of all its topics are cut by hand, it is started, and some logs grow again: what an
unclean leader election does. Beside them lies a log that was written by hand, on today's broker.
"""

import os
import shutil
import signal
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from kmirror.sandbox import KafkaCluster, kafka_runtime
from support import handmade
from support.difference import What
from support.kmirror_cli import Kmirror
from support.mirrors import TestLink
from support.segments import cut_log, write_log
from support.short_lived import short_lived
from support.source_log import seeded_log
from support.traffic import Record, create_topic, produce

KEPT, BATCH, COUNT = 10, 5, 30
"""So many records of `COUNT`, in batches of `BATCH`, outlive the cut."""

REGROWN = ("regrown-a-little", "regrown-to-the-same-end", "regrown-beyond")
CUT = ("cut", *REGROWN)
HANDMADE = {
    "compacted": [handmade.compacted(codec) for codec in range(5)],
    "old-formats": [handmade.old_format(0), handmade.old_format(1)],
    "drawn": [seeded_log(seed, 100).data for seed in range(10, 13)],
}


@dataclass
class Cut:
    """Two links whose source was cut: the runner of one lived meanwhile, frozen, the other had none."""

    running: TestLink
    stopped: TestLink
    untouched: str = "untouched"


@pytest.fixture(scope="module")
def cut(nothing_left_behind: None, west: KafkaCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cut]:
    directory = tmp_path_factory.mktemp("cut")
    home = Kmirror(directory / "home")
    with short_lived(KafkaCluster("cut", directory / "cluster", kafka_runtime())) as source:
        made = Cut(*(TestLink(home, source, west, name).create() for name in ("running", "stopped")))
        for link in (made.running, made.stopped):
            for topic in (*CUT, made.untouched):
                begin(link, topic)
        for topic, logs in HANDMADE.items():
            create_topic(source.bootstrap_servers, topic, len(logs), config=handmade.KEEP)
        made.stopped.stop()
        runner = made.running.pid
        os.kill(runner, signal.SIGSTOP)
        try:
            hurt(source)
        finally:
            os.kill(runner, signal.SIGCONT)
        made.stopped.start()
        yield made
        assert not home.stop_all()
    shutil.rmtree(directory, ignore_errors=True)


def begin(link: TestLink, topic: str) -> None:
    name = f"{link.name}.{topic}"
    create_topic(link.source.bootstrap_servers, name)
    write(link.source, name, COUNT, b"first life")
    link.mirror(name)
    link.await_caught_up(name)


def hurt(source: KafkaCluster) -> None:
    source.stop_broker()
    for link in ("running", "stopped"):
        for topic in CUT:
            cut_log(source, f"{link}.{topic}", KEPT)
    for topic, logs in HANDMADE.items():
        for partition, data in enumerate(logs):
            write_log(source, topic, data, partition)
    source.start_broker()
    for link in ("running", "stopped"):
        for topic, count in zip(REGROWN, (5, COUNT - KEPT, COUNT), strict=True):
            write(source, f"{link}.{topic}", count, b"second life")


def write(cluster: KafkaCluster, topic: str, count: int, value: bytes) -> None:
    records = [Record(b"k", b"%s %d" % (value, i)) for i in range(count)]
    produce(cluster.bootstrap_servers, topic, records, batch_records=BATCH, linger_ms=50)


@pytest.mark.parametrize("topic", CUT)
def test_a_source_that_was_cut_while_a_runner_ran(cut: Cut, topic: str) -> None:
    """By the leader epoch of what was fetched last, however far the log has grown again."""
    link, name = cut.running, f"running.{topic}"
    link.await_failed(name, "UNEXPECTED_TRUNCATION")
    assert link.mirror_ends(name) == {0: COUNT}, "nothing was appended"


@pytest.mark.parametrize("topic", CUT)
def test_a_source_that_was_cut_while_none_ran(cut: Cut, topic: str) -> None:
    """By the mirror's tail, which is ours and not the source's any more."""
    link, name = cut.stopped, f"stopped.{topic}"
    link.await_failed(name, "UNEXPECTED_TRUNCATION")
    assert link.mirror_ends(name) == {0: COUNT}, "nothing was appended"
    link.stop()
    link.start()
    link.await_failed(name, "UNEXPECTED_TRUNCATION")


def test_a_source_that_only_restarted(cut: Cut) -> None:
    for link in (cut.running, cut.stopped):
        name = f"{link.name}.{cut.untouched}"
        write(link.source, name, 10, b"later")
        link.assert_exact(name, at_least=COUNT + 10)


@pytest.mark.parametrize("topic", HANDMADE)
def test_hand_made_logs_on_todays_broker(cut: Cut, topic: str) -> None:
    name = f"today.{topic}"  # the older broker's logs of the same names have the same destination
    cut.running.mirror(name, "--source-topic", topic)
    cut.running.assert_exact(name, topic, at_least=40, ignore=[What.TIMESTAMP_TYPE])
