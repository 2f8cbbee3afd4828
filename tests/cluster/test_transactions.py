"""Gaps filled by empty transactions, where the destination takes no markers from a client: judged by the oracle.

The rules of engine/transactions.py under kills, cut connections, a second runner and a broker that restarts.
"""

import shutil
from collections.abc import Iterator

import pytest

from kmirror.sandbox import KafkaCluster
from support import guarded
from support.guarded import GuardedCluster
from support.kmirror_cli import Kmirror
from support.mirrors import TestLink
from support.raw import write_markers
from support.traffic import Record, create_topic, produce
from support.transactions import transaction


@pytest.fixture(scope="module")
def locked(nothing_left_behind: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GuardedCluster]:
    """A destination whose clients have rights on topics and on kmirror's transactional ids, none on the cluster."""
    directory = tmp_path_factory.mktemp("locked")
    with GuardedCluster("locked", directory) as cluster:
        cluster.grant([guarded.TRANSACTIONS])
        yield cluster
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="module")
def module_home(nothing_left_behind: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kmirror]:
    command = Kmirror(tmp_path_factory.mktemp("transactions") / "home")
    yield command
    assert not command.stop_all()


@pytest.fixture(scope="module")
def link(module_home: Kmirror, east: KafkaCluster, locked: GuardedCluster) -> TestLink:
    return TestLink(module_home, east, locked, "locked").create()


def gap(link: TestLink, topic: str, count: int, *, partition: int = 0) -> None:
    """Three records, `count` offsets that hold nothing visible, and three records."""
    at = link.source.bootstrap_servers
    produce(at, topic, [Record(b"k", b"before")] * 3, partition=partition)
    assert write_markers(at, topic, count, partition=partition) == 0
    produce(at, topic, [Record(b"k", b"after")] * 3, partition=partition)


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
