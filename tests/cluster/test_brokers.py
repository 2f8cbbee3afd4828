"""Three brokers on both sides, replication factor 3 and min.insync.replicas 2: restarts, kills, leaders that move,
brokers that are gone or elsewhere, elections that lose records, and replicas that are near.
"""

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from bench.meter import peak_rss_megabytes

from kmirror.admin.cluster import ClusterAdmin
from kmirror.model.access import Access
from kmirror.sandbox import kafka_runtime
from support.kmirror_cli import Kmirror
from support.mirrors import TestLink, end_of, leaders, set_topic_config
from support.short_lived import short_lived
from support.traffic import Record, Traffic, create_topic, produce, sized
from support.trio import Trio
from support.wait import eventually

PATIENT = {"message.timeout.ms": 120_000, "reconnect.backoff.max.ms": 500}
SAFE = {"min.insync.replicas": "2"}


def _trio(name: str, factory: pytest.TempPathFactory) -> Iterator[Trio]:
    directory = factory.mktemp(name)
    properties = {"auto.create.topics.enable": "false", "offsets.topic.num.partitions": "4"}
    properties |= {"transaction.state.log.num.partitions": "4", "auto.leader.rebalance.enable": "false"}
    properties |= {"broker.session.timeout.ms": "5000", "broker.heartbeat.interval.ms": "1000"}
    with short_lived(Trio(name, directory, kafka_runtime(), brokers=3, properties=properties)) as cluster:
        yield cluster
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="module")
def here(nothing_left_behind: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trio]:
    yield from _trio("here", tmp_path_factory)


@pytest.fixture(scope="module")
def there(nothing_left_behind: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trio]:
    yield from _trio("there", tmp_path_factory)


@pytest.fixture
def link(kmirror: Kmirror, here: Trio, there: Trio) -> TestLink:
    return TestLink(kmirror, here, there)


def mirrored(link: TestLink, topic: str, partitions: int, own: str = "min.insync.replicas=2") -> None:
    """`own`: configs of the mirror that don't follow those of its source."""
    create_topic(link.source.bootstrap_servers, topic, partitions, 3, SAFE)
    link.create()
    link.mirror(topic, "--replication-factor", "3", "--config", own)


def goes_on(link: TestLink, topic: str) -> None:
    """A client that takes a broker for the controller which is just gone has to be asked again."""
    before = eventually(lambda: link.mirror_ends(topic), 60, "the mirror's ends are told")
    link.await_beyond(topic, before, 90)


def test_a_replica_in_the_same_rack_is_fetched_from(link: TestLink, here: Trio, topic_name: str) -> None:
    """And the leader again where that replica dies."""
    create_topic(here.bootstrap_servers, topic_name, 1, 3, SAFE)
    here.lead(topic_name, {0: 0})
    link.create("client.rack=rack-2")
    link.mirror(topic_name, "--replication-factor", "3")
    with Traffic(here.bootstrap_servers, topic_name, rate=1_000, config=PATIENT) as traffic:
        near = "connected cluster=source broker=2"
        eventually(lambda: any(near in line and "fetch" in line for line in _log(link)), 30, link.log)
        goes_on(link, topic_name)
        here.kill(2)
        goes_on(link, topic_name)
        here.start_broker(2)
        here.all_in_sync(topic_name)
        goes_on(link, topic_name)
        acked = traffic.stop()
    assert link.assert_exact(topic_name) == acked


def _log(link: TestLink) -> list[str]:
    return (link.kmirror.runtime(link.name) / "kmirror.log").read_text().splitlines()


@contextmanager
def copied_meanwhile(link: TestLink, topic: str) -> Iterator[None]:
    """Traffic goes on in the block; in the end the mirror is exact, and was never anything but well."""
    mirrored(link, topic, 3)
    with Traffic(link.source.bootstrap_servers, topic, rate=500, size=500, config=PATIENT) as traffic:
        link.await_beyond(topic, dict.fromkeys(range(3), 0))
        yield
        goes_on(link, topic)
        acked = traffic.stop()
    assert link.assert_exact(topic) == acked
    link.await_status(topic, "ACTIVE")


def test_rolling_restarts(link: TestLink, here: Trio, there: Trio, topic_name: str) -> None:
    with copied_meanwhile(link, topic_name):
        for broker in range(3):
            for side in (here, there):
                side.stop_broker(broker)
            for side in (here, there):
                side.start_broker(broker)
            for side in (here, there):
                side.all_in_sync(topic_name)


def test_leaders_that_are_killed(link: TestLink, here: Trio, there: Trio, topic_name: str) -> None:
    """On both sides two of three brokers, the controller first, and the second when the first has come back."""
    with copied_meanwhile(link, topic_name):
        controllers = [(side, side.controller()) for side in (here, there)]
        for number in range(2):
            killed = [(side, (controller + number) % 3) for side, controller in controllers]
            for side, broker in killed:
                eventually(lambda s=side, b=broker: b in leads(s, topic_name), 90, "it leads something")
                side.kill(broker)
                eventually(lambda s=side, b=broker: b not in leads(s, topic_name), 90, "others lead")
                goes_on(link, topic_name)
            for side, broker in killed:
                side.start_broker(broker)
            for side, _ in killed:
                side.all_in_sync(topic_name)


def leads(cluster: Trio, topic: str) -> set[int]:
    """The brokers that lead a partition of it."""
    return set(leaders(cluster, topic).values())


def test_clients_go_on_without_the_broker_that_they_took_for_the_controller(here: Trio, topic_name: str) -> None:
    """With KRaft any broker may be named as that: some of these clients were told of the one that dies."""
    create_topic(here.bootstrap_servers, topic_name, 1, 3, SAFE)
    clients = [ClusterAdmin(Access(here.bootstrap_servers), "source", timeout_s=3) for _ in range(8)]
    for client in clients:
        eventually(
            lambda client=client: client.topic(topic_name).partitions == 1, 30, "its broker has heard of the topic"
        )
    here.kill(1)
    try:
        for client in clients:
            eventually(lambda client=client: client.topic(topic_name), 30, "another broker is asked")
    finally:
        here.start_broker(1)


def test_leaders_that_move_every_few_seconds(link: TestLink, here: Trio, there: Trio, topic_name: str) -> None:
    with copied_meanwhile(link, topic_name):
        for round_ in range(4):
            for number, side in enumerate((here, there)):
                side.lead(topic_name, {p: (p + round_ + number) % 3 for p in range(3)})
            time.sleep(1)


@pytest.mark.parametrize("side", ["source", "destination"])
def test_an_unclean_election(link: TestLink, topic_name: str, *, side: str) -> None:
    """A replica that lags comes to lead. At the destination what it lost is copied again; at the source it is found."""
    unclean = {"min.insync.replicas": "1", "unclean.leader.election.enable": "true"}
    mirrored(link, topic_name, 1, ",".join(f"{key}={value}" for key, value in unclean.items()))
    cluster: Trio = getattr(link, side)
    records = list(sized(3_000, high=500))
    produce(link.source.bootstrap_servers, topic_name, records[:1_000])
    link.await_caught_up(topic_name)
    cluster.lead(topic_name, {0: 0})
    cluster.reassign(topic_name, {0: [0, 1]})
    if side == "source":
        for key, value in unclean.items():
            set_topic_config(cluster, topic_name, key, value)
    cluster.kill(1)
    produce(link.source.bootstrap_servers, topic_name, records[1_000:2_000])
    link.await_caught_up(topic_name, timeout=90)
    cluster.stop_broker(0)
    cluster.start_broker(1)
    try:
        eventually(lambda: leaders(cluster, topic_name) == {0: 1}, 90, "the replica that lags leads", 0.3)
        produce(link.source.bootstrap_servers, topic_name, records[2_000:2_500])
        if side == "source":
            link.await_failed(topic_name, "UNEXPECTED_TRUNCATION")
        else:
            link.assert_exact(topic_name, at_least=2_500)
    finally:
        cluster.start_broker(0)


def test_a_broker_gone_for_good_and_one_that_is_elsewhere(
    link: TestLink, here: Trio, there: Trio, topic_name: str
) -> None:
    """Its partitions are reassigned; then it is back on another port, of which only metadata tell."""
    with copied_meanwhile(link, topic_name):
        for side in (here, there):
            side.kill(2)
            side.reassign(topic_name, {p: [p % 2, 1 - p % 2] for p in range(3)})
            goes_on(link, topic_name)
        for side in (here, there):
            side.move_address(2)
            side.lead(topic_name, dict.fromkeys(range(3), 2))
            goes_on(link, topic_name)


def test_a_broker_that_stands_still_takes_no_more_memory_than_the_link_has(
    link: TestLink, here: Trio, there: Trio, topic_name: str
) -> None:
    create_topic(here.bootstrap_servers, topic_name, 6, 3)
    here.lead(topic_name, dict.fromkeys(range(6), 0))
    link.create("fetch.buffer.bytes=33554432")
    link.mirror(topic_name, "--replication-factor", "1")
    for partition in range(6):
        produce(here.bootstrap_servers, topic_name, [Record(b"k", b"v")], partition=partition)
    link.await_caught_up(topic_name)
    frozen = next(broker for broker in (1, 2) if broker != there.controller())
    held = {p for p, leader in leaders(there, topic_name).items() if leader == frozen}
    assert held
    assert len(held) < 6
    there.suspend(frozen)
    try:
        for partition in held:
            write_much(here, topic_name, partition, megabytes=30)
        for partition in set(range(6)) - held:
            write_much(here, topic_name, partition, megabytes=2)
        for partition in set(range(6)) - held:  # it has no replica to take over, so it may be given up for the others
            eventually(lambda p=partition: end_of(there, topic_name, p) == 1 + 20, 60, "the others are copied")
    finally:
        there.resume(frozen)
    link.assert_exact(topic_name, at_least=6 + 300 * len(held))
    assert peak_rss_megabytes(link.pid) < 150


def write_much(cluster: Trio, topic: str, partition: int, *, megabytes: int) -> None:
    records = [Record(b"k", bytes(100_000))] * (10 * megabytes)
    produce(cluster.bootstrap_servers, topic, records, partition=partition, batch_bytes=1_000_000)
