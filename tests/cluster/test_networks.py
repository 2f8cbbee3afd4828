"""Bad networks between the runner and one cluster: slow, narrow, cut, silent. Nothing is lost or doubled, and when the
network is as it should be again the copy is, too.
"""

import shutil
import time
from collections.abc import Callable, Iterator

import pytest

from kmirror.sandbox import KafkaCluster, kafka_runtime
from support.kmirror_cli import Kmirror
from support.mirrors import TestLink
from support.network import Conditions, FarCluster
from support.proxy import Fault
from support.short_lived import short_lived
from support.traffic import Traffic, create_topic, produce, sized
from support.transactions import transaction
from support.wait import eventually

RESUMED_S = 15
"""How soon the copy goes on once the network is back."""
FETCH, PRODUCE = 1, 0
SIDES = ("source", "destination")


@pytest.fixture(scope="module")
def far(nothing_left_behind: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FarCluster]:
    """Who breaks its network heals it."""
    directory = tmp_path_factory.mktemp("far")
    with short_lived(
        FarCluster("far", directory, kafka_runtime(), properties={"auto.create.topics.enable": "false"}, frames=True)
    ) as cluster:
        yield cluster
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(params=SIDES)
def link(
    request: pytest.FixtureRequest, kmirror: Kmirror, far: FarCluster, east: KafkaCluster, west: KafkaCluster
) -> Iterator[TestLink]:
    """One of its clusters is far."""
    yield TestLink(kmirror, far, west) if request.param == "source" else TestLink(kmirror, east, far)
    far.network.set(Conditions())


def test_delay_cuts_and_black_holes(link: TestLink, far: FarCluster, topic_name: str) -> None:
    """75 ms and jitter each way all the time; connections cut at random; then all of them; then nothing arrives."""
    slow = Conditions(0.075, 0.02)
    far.network.set(slow)
    create_topic(link.source.bootstrap_servers, topic_name, 3)
    link.create()
    link.mirror(topic_name)
    with Traffic(link.source.bootstrap_servers, topic_name, rate=1_500, size=500) as traffic:
        link.await_beyond(topic_name, dict.fromkeys(range(3), 0))
        cuts = far.network.cuts
        far.network.set(Conditions(0.075, 0.02, cut_share=0.2))
        eventually(lambda: far.network.cuts >= cuts + 4, 60, "connections are cut")
        far.network.set(slow)
        _goes_on(link, topic_name)
        far.network.cut_all()
        _goes_on(link, topic_name)
        for cut in (False, True):
            far.network.set(Conditions(black_hole=True))
            time.sleep(4)  # a hole lasts; what was sent into it comes out, or is cut off
            if cut:
                far.network.cut_all()
            far.network.set(slow)
            _goes_on(link, topic_name)
        acked = traffic.stop()
    assert link.assert_exact(topic_name) == acked
    link.await_status(topic_name, "ACTIVE")


def _goes_on(link: TestLink, topic: str, within_s: float = RESUMED_S) -> None:
    link.await_beyond(topic, link.mirror_ends(topic), within_s)


def test_a_narrow_way(link: TestLink, far: FarCluster, topic_name: str) -> None:
    """5 MB/s, and far: it is used nearly whole, and no request is so large that it is late."""
    create_topic(link.source.bootstrap_servers, topic_name, 4)
    records = sized(40_000, low=1_000, high=1_000, partitions=4)
    produce(link.source.bootstrap_servers, topic_name, records, batch_bytes=50_000)
    far.network.set(Conditions(0.075, bytes_per_s=5e6))
    link.create()
    link.mirror(topic_name)
    link.await_beyond(topic_name, dict.fromkeys(range(4), 0))
    began, before = time.monotonic(), sum(link.mirror_ends(topic_name).values())
    link.await_caught_up(topic_name)
    copied = (40_000 - before) * 1_000
    assert copied / (time.monotonic() - began) > 2.5e6, link.log()
    assert "did not answer in time" not in link.log()
    link.assert_exact(topic_name, at_least=40_000)


def test_connections_whose_other_end_is_gone(link: TestLink, far: FarCluster, topic_name: str) -> None:
    """Half-open: what we send is taken and thrown away, and nothing ever comes."""
    create_topic(link.source.bootstrap_servers, topic_name, 2)
    link.create()
    link.mirror(topic_name)
    with Traffic(link.source.bootstrap_servers, topic_name, rate=500) as traffic:
        link.await_beyond(topic_name, {0: 0, 1: 0})
        far.network.half_open()
        time.sleep(0.5)  # what was under way still arrives
        _goes_on(link, topic_name)
        acked = traffic.stop()
    assert link.assert_exact(topic_name) == acked


def test_gaps_behind_connections_whose_other_end_is_gone(
    kmirror: Kmirror, far: FarCluster, east: KafkaCluster, topic_name: str
) -> None:
    """Those of batches, of markers and of the coordinator at once, all half-open."""
    link = TestLink(kmirror, east, far)
    create_topic(east.bootstrap_servers, topic_name)
    link.create("metadata.max.age.ms=300000")
    link.mirror(topic_name)
    for _ in range(2):
        transaction(east.bootstrap_servers, topic_name, sized(10, low=100, high=100, partitions=1))
    link.assert_exact(topic_name, at_least=20)
    far.network.half_open()
    time.sleep(0.5)  # what was under way still arrives
    before = link.mirror_ends(topic_name)
    for commit in (True, False, True):
        transaction(east.bootstrap_servers, topic_name, sized(10, low=100, high=100, partitions=1), commit=commit)
    link.await_beyond(topic_name, {0: before[0] + 32}, RESUMED_S)
    link.assert_exact(topic_name, at_least=40)
    link.await_status(topic_name, "ACTIVE")


def test_gaps_over_the_longest_way(kmirror: Kmirror, far: FarCluster, east: KafkaCluster, topic_name: str) -> None:
    """From one side of the earth to the other: a lease lasts longer than its question takes."""
    link = TestLink(kmirror, east, far)
    create_topic(east.bootstrap_servers, topic_name)
    for commit in (True, False):
        transaction(east.bootstrap_servers, topic_name, sized(5, low=100, high=100), commit=commit)
    link.create()
    far.network.set(Conditions(0.15, 0.02))
    try:
        link.mirror(topic_name)
        link.assert_exact(topic_name, at_least=5)
    finally:
        far.network.set(Conditions())


KINDS: dict[str, tuple[str, Callable[[int], Fault]]] = {
    "fetch": ("source", lambda upto: Fault(FETCH, upto=upto)),
    "fetch answer": ("source", lambda upto: Fault(FETCH, answer=True, upto=upto)),
    "produce": ("destination", lambda upto: Fault(PRODUCE, upto=upto)),
    "produce answer": ("destination", lambda upto: Fault(PRODUCE, answer=True, upto=upto)),
}
CUTS = (0, 1, 3, 4, 5, 8, 12, 40, 80, -20, -1)
"""Bytes of the frame that arrive: of its length and its head, some of what follows, all but the last."""


@pytest.mark.parametrize("kind", KINDS)
def test_frames_cut_at_their_bytes(
    kmirror: Kmirror, far: FarCluster, east: KafkaCluster, west: KafkaCluster, topic_name: str, *, kind: str
) -> None:
    """A part of a frame is never taken for a whole one, and what arrived without an answer is not sent twice."""
    side, fault_at = KINDS[kind]
    link = TestLink(kmirror, far, west) if side == "source" else TestLink(kmirror, east, far)
    create_topic(link.source.bootstrap_servers, topic_name, 2)
    link.create()
    link.mirror(topic_name)
    with Traffic(link.source.bootstrap_servers, topic_name, rate=1_000) as traffic:
        link.await_beyond(topic_name, {0: 0, 1: 0})
        for upto in CUTS:
            fault = far.proxy.arm(fault_at(upto))
            assert fault.met.wait(RESUMED_S), f"no frame came to be cut at {upto}\n{link.log()}"
        _goes_on(link, topic_name)
        acked = traffic.stop()
    assert link.assert_exact(topic_name) == acked
    link.await_status(topic_name, "ACTIVE")
