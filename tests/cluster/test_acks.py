"""A batch whose fate is not known: its ack is lost, comes in part, or the broker dies between append and ack.

None of it is a foreign writer (no false alarm), none of it is appended twice. The link reaches the destination through
a proxy that knows produce requests.
"""

import pytest

from kmirror.engine.window import MOST_REQUESTS
from kmirror.sandbox import KafkaCluster
from support.difference import What
from support.kmirror_cli import Kmirror
from support.mirrors import TestLink
from support.proxy import Fault, ProxiedCluster
from support.traffic import Record, Traffic, create_topic, produce
from support.transactions import delete_records
from support.wait import eventually

PRODUCE = 0


@pytest.fixture(scope="module")
def link(module_home: Kmirror, east: KafkaCluster, proxied: ProxiedCluster) -> TestLink:
    return TestLink(module_home, east, proxied, "acks").create()


@pytest.fixture
def mirrored(link: TestLink, topic_name: str) -> str:
    """A mirror that has some records already: its broker knows our producer."""
    create_topic(link.source.bootstrap_servers, topic_name, 1)
    write(link, topic_name)
    link.mirror(topic_name)
    link.await_caught_up(topic_name)
    return topic_name


def write(link: TestLink, topic: str, batches: int = 10) -> None:
    records = (Record(b"%d" % number, b"%d" % index) for number in range(batches) for index in range(20))
    produce(link.source.bootstrap_servers, topic, records, partition=0, batch_records=20)


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param({"answer": True, "share": 0.0}, id="the-ack-is-lost"),
        pytest.param({"answer": True, "share": 0.5}, id="half-of-the-ack-comes"),
        pytest.param({"share": 0.7}, id="the-batch-is-cut"),
        pytest.param({"late_s": 0.4}, id="the-batch-comes-late"),
        pytest.param({"late_s": 3.0}, id="the-batch-comes-when-it-was-sent-anew"),
    ],
)
def test_a_batch_in_doubt(link: TestLink, proxied: ProxiedCluster, mirrored: str, fault: dict[str, float]) -> None:
    met = proxied.proxy.arm(Fault(api=PRODUCE, **fault)).met
    write(link, mirrored)
    assert met.wait(30)
    write(link, mirrored)
    link.assert_exact(mirrored, at_least=600)
    link.await_status(mirrored, "ACTIVE")


def test_more_batches_come_late_than_the_broker_remembers(
    link: TestLink, proxied: ProxiedCluster, mirrored: str
) -> None:
    """It knows the last five of a producer as sent again (ProducerStateEntry). All twelve that were on their way land
    when the log end was read anew, and before what is sent from there: that has a sequence of long ago, and is refused.
    """
    proxy = proxied.proxy
    anew = Fault(api=PRODUCE, cut=False)
    late = Fault(api=PRODUCE, frames=MOST_REQUESTS, late_s=2.0, before=lambda: proxy.arm(anew))
    anew.before = late.met.wait
    proxy.arm(late)
    large = (Record(b"%d" % number, bytes(2000)) for number in range(2 * MOST_REQUESTS) for _ in range(20))
    produce(link.source.bootstrap_servers, mirrored, large, partition=0, batch_records=20)
    assert anew.met.wait(60)
    write(link, mirrored)
    link.assert_exact(mirrored, at_least=400 + 40 * MOST_REQUESTS)
    link.await_status(mirrored, "ACTIVE")
    assert "OutOfOrderSequenceNumber" in link.log()


def test_a_broker_killed_between_append_and_ack(link: TestLink, proxied: ProxiedCluster, mirrored: str) -> None:
    """The proxy has the ack in hand when the broker dies: the batch is in the log, and nobody has told."""
    fault = proxied.proxy.arm(Fault(api=PRODUCE, answer=True, share=0.0, before=proxied.kill))
    write(link, mirrored)
    try:
        assert fault.met.wait(30)
    finally:
        proxied.start_broker()
    write(link, mirrored)
    link.assert_exact(mirrored, at_least=600)
    eventually(lambda: link.status(mirrored) == "ACTIVE", 30, "the mirror is ACTIVE")


def test_a_batch_that_comes_when_its_records_are_gone(link: TestLink, proxied: ProxiedCluster, mirrored: str) -> None:
    """The source has deleted them meanwhile, and markers took their offsets: they don't move the sequence, so it is the
    epoch of the marker that keeps the batch from landing behind them.
    """
    end = link.mirror_ends(mirrored)[0]
    gone = {0: end + 20}
    at = link.source.bootstrap_servers
    fault = proxied.proxy.arm(Fault(api=PRODUCE, late_s=6.0, before=lambda: delete_records(at, mirrored, gone)))
    write(link, mirrored, 1)
    link.await_beyond(mirrored, {0: end + 19})
    assert not fault.met.is_set(), "the gap was filled too late"
    assert fault.met.wait(30)
    write(link, mirrored)
    link.assert_exact(mirrored, ignore=[What.LOG_START], at_least=200)
    link.await_status(mirrored, "ACTIVE")


def test_one_of_two_connections_is_cut(link: TestLink, proxied: ProxiedCluster, topic_name: str) -> None:
    """Large batches of several partitions come over two of them. Each fault breaks one: what the other has on its
    way goes on, and small batches between the large ones have partitions change from one to the other meanwhile.
    """
    create_topic(link.source.bootstrap_servers, topic_name, 4)
    link.mirror(topic_name)
    with Traffic(link.source.bootstrap_servers, topic_name, rate=200, size=60_000) as large:
        faults: list[dict[str, float]] = [
            {"share": 0.6},
            {"answer": True},
            {"answer": True, "share": 0},
            {"late_s": 0.4},
        ]
        for fault in faults * 3:
            link.await_beyond(topic_name, link.mirror_ends(topic_name))
            with Traffic(link.source.bootstrap_servers, topic_name, rate=2_000) as small:
                assert proxied.proxy.arm(Fault(api=PRODUCE, **fault)).met.wait(30)
                link.await_beyond(topic_name, link.mirror_ends(topic_name))
                small.stop()
        large.stop()
    link.assert_exact(topic_name, at_least=large.acked)
    link.await_status(topic_name, "ACTIVE")
    assert proxied.proxy.at_once[PRODUCE] == 2
