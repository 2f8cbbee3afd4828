"""Logs of small batches on real brokers: merged on their way, the same to every reader, whatever breaks meanwhile."""

import random
from itertools import pairwise

import pytest

from kmirror.sandbox import KafkaCluster
from support.kmirror_cli import Kmirror
from support.last_values import all_records, last_values
from support.logs import Isolation
from support.mirrors import TestLink, ends, set_topic_config
from support.segments import batches_of, segment
from support.traffic import CODECS, Record, Traffic, create_topic, produce, sized
from support.transactions import Transactions
from support.wait import eventually

SMALL = {"batch.num.messages": 4, "linger.ms": 1}
"""Of a producer: a few records a batch."""


@pytest.fixture(scope="module")
def link(module_home: Kmirror, east: KafkaCluster, west: KafkaCluster) -> TestLink:
    return TestLink(module_home, east, west).create()


def small(link: TestLink, topic: str, count: int, *, partition: int = 0, compression: str = "none") -> None:
    records = sized(count, high=300, seed=count + partition)
    produce(
        *(link.source.bootstrap_servers, topic, (Record(r.key, r.value, r.headers) for r in records)),
        partition=partition,
        compression=compression,
        batch_records=3,
    )


def test_every_codec(link: TestLink, topic_name: str) -> None:
    """A partition for each: merged, except gzip. `verify` finds them equal too."""
    create_topic(link.source.bootstrap_servers, topic_name, len(CODECS))
    for partition, codec in enumerate(CODECS):
        small(link, topic_name, 3_000, partition=partition, compression=codec)
    link.mirror(topic_name)
    assert link.assert_exact(topic_name) == 3_000 * len(CODECS)
    for partition, codec in enumerate(CODECS):
        before = len(batches_of(link.source, topic_name, partition))
        found = len(batches_of(link.destination, topic_name, partition))
        assert before >= 1_000
        assert found == before if codec == "gzip" else found < before / 20, codec
    link.kmirror.run("mirror", "verify", topic_name, "--link", link.name)


def test_a_switch_keeps_them_apart(kmirror: Kmirror, east: KafkaCluster, west: KafkaCluster, topic_name: str) -> None:
    link = TestLink(kmirror, east, west).create("batch.coalesce.enable=false")
    create_topic(east.bootstrap_servers, topic_name)
    small(link, topic_name, 300)
    link.mirror(topic_name)
    link.assert_exact(topic_name)
    assert batches_of(west, topic_name) == batches_of(east, topic_name)
    kmirror.run("link", "configuration", "update", link.name, "--config", "batch.coalesce.enable=true")
    small(link, topic_name, 3_000)
    link.assert_exact(topic_name)


def test_a_runner_killed_in_the_middle_of_merged_batches(link: TestLink, topic_name: str) -> None:
    """The next one fetches them in other portions; the tail is compared across the bounds of batches."""
    create_topic(link.source.bootstrap_servers, topic_name, 2)
    link.mirror(topic_name)
    noise = random.Random(8)
    with Traffic(link.source.bootstrap_servers, topic_name, rate=3_000, size=200, config=SMALL) as traffic:
        for _ in range(4):
            wanted = {p: end + noise.randint(1, 3_000) for p, end in link.mirror_ends(topic_name).items()}
            link.await_beyond(topic_name, wanted)
            link.kill()
            before = ends(link.source, topic_name)
            eventually(  # a backlog, so that there is something to merge
                lambda b=before: all(end > b[p] + 1_000 for p, end in ends(link.source, topic_name).items()),
                30,
                "the source goes on",
            )
            link.start()
        acked = traffic.stop()
    assert link.assert_exact(topic_name) == acked
    link.await_status(topic_name, "ACTIVE")


def test_a_promote_in_the_middle_of_small_batches(link: TestLink, topic_name: str) -> None:
    """Under traffic: the mirror ends at the target or, if more was under way, beyond it, and is exact all the same."""
    create_topic(link.source.bootstrap_servers, topic_name, 2)
    small(link, topic_name, 20_000)
    link.mirror(topic_name)
    with Traffic(link.source.bootstrap_servers, topic_name, rate=3_000, size=200, config=SMALL):
        link.await_beyond(topic_name, {0: 100, 1: 10})
        rows = link.verb("promote", topic_name)
        assert {row["mirror_status"] for row in rows} == {"STOPPED"}
        ended = link.mirror_ends(topic_name)
    assert ended == link.mirror_ends(topic_name)
    for row in rows:
        assert ended[row["partition"]] >= row["target_offset"] > 0
    link.compare(topic_name, upto=ended, at_least=20_000)


def test_small_transactions(link: TestLink, topic_name: str) -> None:
    """Committed ones are merged, across each other's batches; aborted ones and markers stay gaps."""
    create_topic(link.source.bootstrap_servers, topic_name)
    first = Transactions(link.source.bootstrap_servers, f"{topic_name}-1")
    second = Transactions(link.source.bootstrap_servers, f"{topic_name}-2")
    for turn in range(12):
        first.begin()
        second.begin()
        for number in range(5):
            first.write(topic_name, b"first %d %d" % (turn, number))
            second.write(topic_name, b"second %d %d" % (turn, number))
        first.end(commit=turn % 4 != 1)
        small(link, topic_name, 12)
        second.end(commit=turn % 3 != 2)
    link.mirror(topic_name)
    link.assert_exact(topic_name, at_least=12 * 12 + 9 * 5 + 8 * 5)
    gaps = ends(link.source, topic_name)[0] - len(all_records(link.source.bootstrap_servers, topic_name))
    assert gaps == 2 * 12 + 3 * 5 + 4 * 5
    link.kmirror.run("mirror", "verify", topic_name, "--link", link.name)


def test_a_compacted_topic_and_a_restart_on_a_merged_tail(link: TestLink, topic_name: str) -> None:
    """The source loses records of a batch which the destination has merged; then the runner starts again."""
    at = link.source.bootstrap_servers
    # Only the source is cleaned meanwhile: the mirror's own cleaner has to leave the tail as it was merged.
    create_topic(at, topic_name, config={"cleanup.policy": "compact", "min.cleanable.dirty.ratio": "0.9"})
    records = [Record(b"key %d" % (number % 50), b"%d" % number) for number in range(2_000)]
    produce(at, topic_name, records, batch_records=3)
    link.mirror(topic_name)
    link.assert_exact(topic_name)
    assert len(batches_of(link.destination, topic_name)) < 200
    link.kill()
    set_topic_config(link.source, topic_name, "segment.ms", "100")
    set_topic_config(link.source, topic_name, "min.cleanable.dirty.ratio", "0.01")

    def compacted() -> bool:
        produce(at, topic_name, [Record(b"key 0", b"roll")])
        return len(all_records(at, topic_name)) < 500

    eventually(compacted, 60, "the source is compacted", interval=0.5)
    link.start()
    link.await_caught_up(topic_name)
    link.await_status(topic_name, "ACTIVE")
    expected = last_values(at, topic_name)
    assert len(expected) == 50
    for isolation in Isolation:
        assert last_values(link.destination.bootstrap_servers, topic_name, isolation) == expected
    link.kmirror.run("mirror", "verify", topic_name, "--link", link.name)


def test_what_is_refused_in_the_middle_of_a_run_is_told_exactly(link: TestLink, topic_name: str) -> None:
    """A record without a key, written before its topic was compacted: merged batches with it are sent again in parts,
    until all before it is copied, and FAILED names the source's own batch.
    """
    at = link.source.bootstrap_servers
    create_topic(at, topic_name)
    keyed = [Record(b"key %d" % number, b"value") for number in range(90)]
    produce(at, topic_name, keyed, batch_records=3)
    produce(at, topic_name, [Record(None, b"no key"), Record(b"key", b"beside it")])
    produce(at, topic_name, keyed, batch_records=3)
    set_topic_config(link.source, topic_name, "cleanup.policy", "compact")
    link.mirror(topic_name)
    said = link.await_failed(topic_name, "DESTINATION_REFUSED", offset=90)
    assert "offsets 90 to 91" in said
    assert link.mirror_ends(topic_name) == {0: 90}
    link.compare(topic_name, upto={0: 90}, at_least=90)
    assert "batch refused" in link.log()


def test_bounds_of_merged_batches(link: TestLink, topic_name: str) -> None:
    """Large ones between them keep their bounds."""
    create_topic(link.source.bootstrap_servers, topic_name)
    for turn in range(3):
        small(link, topic_name, 1_500)
        produce(link.source.bootstrap_servers, topic_name, [Record(b"large", bytes(50_000 + turn))])
    link.mirror(topic_name)
    link.assert_exact(topic_name)
    large = [span for span in batches_of(link.source, topic_name) if span[0] in {1500, 3001, 4502}]
    found = batches_of(link.destination, topic_name)
    assert len(large) == 3
    assert set(large) <= set(found)
    assert all(one[1] + 1 == other[0] for one, other in pairwise(found))
    size = segment(link.destination, topic_name).stat().st_size
    assert size / len(found) > 50_000
