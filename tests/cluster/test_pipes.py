"""Large batches, which stay in pipes on their way: the same to every reader, whatever they stand between and whatever
breaks meanwhile. That they go that way is seen from outside: by the pipes that the runner has open.
"""

import random
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from kmirror.sandbox import KafkaCluster, kafka_runtime
from support.kmirror_cli import Kmirror
from support.mirrors import TestLink
from support.network import FarCluster
from support.segments import flip_byte
from support.short_lived import OwnCluster, short_lived
from support.traffic import CODECS, Record, Traffic, create_topic, produce
from support.transactions import transaction

SIDES = ("source", "destination")


@pytest.fixture(scope="module")
def link(module_home: Kmirror, east: KafkaCluster, west: KafkaCluster) -> TestLink:
    return TestLink(module_home, east, west).create()


def pipes_of(link: TestLink) -> int:
    """How many pipes its runner has open; the event loop has none of its own."""
    ends = [path.readlink().name for path in Path(f"/proc/{link.pid}/fd").iterdir()]
    return len({end for end in ends if end.startswith("pipe:")})


def large(count: int, size: int, *, seed: int) -> Iterator[Record]:
    """Records that no codec makes smaller, a batch each."""
    draw = random.Random(seed)
    return (Record(b"%d" % n, draw.randbytes(draw.randint(size // 2, size))) for n in range(count))


def write(link: TestLink, topic: str, records: Iterable[Record], *, partition: int = 0, codec: str = "none") -> None:
    produce(
        *(link.source.bootstrap_servers, topic, records), partition=partition, compression=codec, batch_bytes=150_000
    )


def test_every_codec_and_size(link: TestLink, topic_name: str) -> None:
    """A partition for each codec: batches for pipes, others that are too small or too large, and turns of both."""
    create_topic(link.source.bootstrap_servers, topic_name, len(CODECS))
    for partition, codec in enumerate(CODECS):
        for size in (120_000, 300, 60_000, 800_000, 30_000, 120_000):
            write(link, topic_name, large(40, size, seed=size), partition=partition, codec=codec)
    link.mirror(topic_name)
    assert link.assert_exact(topic_name) == 6 * 40 * len(CODECS)
    assert pipes_of(link) > 5
    link.kmirror.run("mirror", "verify", topic_name, "--link", link.name)


def test_transactions(link: TestLink, topic_name: str) -> None:
    """Those that were aborted leave offsets, and batches that wait in pipes for nobody."""
    create_topic(link.source.bootstrap_servers, topic_name)
    for n in range(6):
        transaction(link.source.bootstrap_servers, topic_name, large(5, 150_000, seed=n), commit=n % 2 == 0)
        write(link, topic_name, large(5, 150_000, seed=100 + n))
    link.mirror(topic_name)
    assert link.assert_exact(topic_name) == 45
    assert pipes_of(link) > 2


def test_an_aborted_transaction_of_another_leader_epoch(
    kmirror: Kmirror, own_cluster: OwnCluster, west: KafkaCluster, topic_name: str
) -> None:
    """All in one answer: the next fetch tells of which epoch the last batch was, or the log looks like a cut one."""
    link = TestLink(kmirror, own_cluster("east-again"), west)
    create_topic(link.source.bootstrap_servers, topic_name)
    write(link, topic_name, large(1, 300, seed=1))
    link.source.stop_broker()
    link.source.start_broker()
    transaction(link.source.bootstrap_servers, topic_name, large(2, 150_000, seed=2), commit=False)
    link.create().mirror(topic_name)
    link.await_caught_up(topic_name)
    write(link, topic_name, large(1, 300, seed=3))
    assert link.assert_exact(topic_name) == 2
    link.await_status(topic_name, "ACTIVE")


def test_a_corrupt_batch(link: TestLink, topic_name: str) -> None:
    """Nobody but the destination's broker looks at its checksum at first; it says whose log is damaged all the same."""
    create_topic(link.source.bootstrap_servers, topic_name, 2)
    for n in range(20):
        write(link, topic_name, large(1, 150_000, seed=n))
    flip_byte(link.source, topic_name, 10)
    link.mirror(topic_name)
    said = link.await_failed(topic_name, "CORRUPT_BATCH", offset=10)
    assert "the checksum of the batch at offsets 10 to 10 is wrong" in said
    assert link.mirror_ends(topic_name) == {0: 10, 1: 0}
    assert "batch refused" in link.log()
    link.verb("failover", topic_name)


@pytest.fixture(scope="module")
def far(nothing_left_behind: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FarCluster]:
    directory = tmp_path_factory.mktemp("pipes")
    with short_lived(
        FarCluster("pipes", directory, kafka_runtime(), properties={"auto.create.topics.enable": "false"})
    ) as cluster:
        yield cluster
    shutil.rmtree(directory, ignore_errors=True)


@pytest.mark.parametrize("side", SIDES)
def test_connections_cut_and_a_runner_killed(
    kmirror: Kmirror, far: FarCluster, east: KafkaCluster, west: KafkaCluster, topic_name: str, *, side: str
) -> None:
    """In the midst of batches: what was in pipes is fetched again, and nothing of it is taken twice."""
    link = TestLink(kmirror, far, west) if side == "source" else TestLink(kmirror, east, far)
    create_topic(link.source.bootstrap_servers, topic_name, 2)
    link.create()
    link.mirror(topic_name)
    with Traffic(link.source.bootstrap_servers, topic_name, rate=150, size=100_000) as traffic:
        for breakage in [far.network.cut_all] * 4 + [link.kill] * 2:
            link.await_beyond(topic_name, link.mirror_ends(topic_name))
            breakage()
            if breakage == link.kill:
                link.start()
        link.await_beyond(topic_name, link.mirror_ends(topic_name))
        acked = traffic.stop()
    assert link.assert_exact(topic_name) == acked
    assert pipes_of(link) > 0
    link.await_status(topic_name, "ACTIVE")
