"""Whatever the source's log holds: each row of the guarantees' table on real brokers, judged by the oracle.

Logs that no client can write (holes, old formats, damage) are written by hand into a source broker's folder.
"""

import json
import shutil
import time
from collections.abc import Callable, Iterator

import pytest

from kmirror.sandbox import KafkaCluster, kafka_runtime
from support import handmade
from support.difference import What
from support.kmirror_cli import Kmirror
from support.last_values import all_records, last_values
from support.logs import Isolation, Topic
from support.mirrors import TestLink, ends, set_topic_config, topic_configs
from support.raw import write_markers
from support.segments import flip_byte, write_log
from support.short_lived import short_lived
from support.traffic import ANY_TIMESTAMP, Record, create_topic, produce, sized
from support.transactions import Transactions, delete_records, transaction
from support.wait import eventually

SOURCES = ("east", "east_39")
CURRENT, PREVIOUS = "4.3.1", "3.9.2"


GetLink = Callable[..., TestLink]


@pytest.fixture(scope="module")
def get_link(module_home: Kmirror, west: KafkaCluster) -> GetLink:
    """`get_link(source, *configs)`: the one link from there with these configs."""
    made: dict[tuple[str, ...], TestLink] = {}

    def get(source: KafkaCluster, *configs: str) -> TestLink:
        key = (source.bootstrap_servers, *configs)
        if key not in made:
            made[key] = TestLink(module_home, source, west, f"link-{len(made)}").create(*configs)
        return made[key]

    return get


@pytest.fixture(params=SOURCES)
def link(request: pytest.FixtureRequest, get_link: GetLink) -> TestLink:
    return get_link(request.getfixturevalue(request.param))


@pytest.fixture(scope="module")
def handmade_link(get_link: GetLink, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestLink]:
    """From a cluster whose logs were written by hand: see handmade.LOGS. Of the last version that wrote old formats."""
    directory = tmp_path_factory.mktemp("handmade")
    with short_lived(KafkaCluster("handmade", directory, kafka_runtime(PREVIOUS))) as cluster:
        for topic, logs in handmade.LOGS.items():
            create_topic(cluster.bootstrap_servers, topic, len(logs), config=handmade.KEEP)
        cluster.stop_broker()
        for topic, logs in handmade.LOGS.items():
            for partition, (base, data) in enumerate(logs):
                write_log(cluster, topic, data, partition, base=base)
        cluster.start_broker()
        yield get_link(cluster)
    shutil.rmtree(directory, ignore_errors=True)


def write(link: TestLink, topic: str, count: int = 10, *, partition: int = 0) -> None:
    records = [Record(b"key %d" % (i % 3), b"plain %d" % i) for i in range(count)]
    produce(link.source.bootstrap_servers, topic, records, partition=partition)


def mirror_exactly(link: TestLink, topic: str, *, at_least: int, **options: object) -> None:
    link.mirror(topic)
    assert link.assert_exact(topic, at_least=at_least, **options) >= at_least


# --- transactions ---


def test_committed_and_aborted_transactions(link: TestLink, topic_name: str) -> None:
    at = link.source.bootstrap_servers
    create_topic(at, topic_name, 2)
    for number, commit in enumerate((True, False, False, True)):
        records = [Record(b"k", b"%d-%d" % (number, i), partition=i % 2) for i in range(50)]
        transaction(at, topic_name, records, commit=commit)
        write(link, topic_name)
    mirror_exactly(link, topic_name, at_least=140)
    transaction(at, topic_name, [Record(b"k", b"live", partition=1)] * 5)
    transaction(at, topic_name, [Record(b"k", b"live, aborted", partition=1)] * 5, commit=False)
    link.assert_exact(topic_name, at_least=145)


def test_interleaved_transactions(link: TestLink, topic_name: str) -> None:
    """Two producers take turns on one partition; each commits and aborts, and plain records lie between."""
    create_topic(link.source.bootstrap_servers, topic_name)
    one, other = (
        Transactions(link.source.bootstrap_servers, f"{topic_name}-1"),
        Transactions(link.source.bootstrap_servers, f"{topic_name}-2"),
    )
    link.mirror(topic_name)
    for ends_ in ((True, False), (False, True), (False, False), (True, True)):
        one.begin()
        other.begin()
        for turn in range(3):
            one.write(topic_name, b"one %d" % turn)
            other.write(topic_name, b"other %d" % turn, b"more")
        write(link, topic_name, 2)
        one.end(commit=ends_[0])
        write(link, topic_name, 2)
        other.end(commit=ends_[1])
    write(link, topic_name, 1)
    link.assert_exact(topic_name, at_least=35)


def test_an_open_transaction(link: TestLink, topic_name: str) -> None:
    """Nothing past the last stable offset is copied, then it is."""
    create_topic(link.source.bootstrap_servers, topic_name, 2)
    write(link, topic_name)
    link.mirror(topic_name)
    for commit in (True, False):
        link.await_caught_up(topic_name)
        stable = ends(link.source, topic_name)
        producer = Transactions(link.source.bootstrap_servers, topic_name)
        producer.begin()
        producer.write(topic_name, *[b"open"] * 20)
        write(link, topic_name)
        write(link, topic_name, 7, partition=1)
        link.await_beyond(topic_name, {1: stable[1]})  # the other partition, written last, has come
        reader = Topic(link.destination.bootstrap_servers, topic_name, time.monotonic() + 20)
        held = reader.bounds()[0]
        assert set(held.end.values()) == {stable[0]}
        assert ends(link.source, topic_name)[0] == stable[0]
        producer.end(commit=commit)
        eventually(lambda s=stable: ends(link.source, topic_name)[0] == s[0] + 31, 20, "the marker is written")
        link.assert_exact(topic_name, at_least=27)


def test_thousands_of_small_transactions(handmade_link: TestLink) -> None:
    """2,000 of one record each, by 50 producers, a third aborted: two offsets in three hold nothing or a marker."""
    mirror_exactly(handmade_link, "transactions", at_least=1_333)


def test_a_transaction_over_many_fetches(get_link: GetLink, east: KafkaCluster, topic_name: str) -> None:
    """3 MB in a transaction, fetched 16 KB at a time: committed and, between others, aborted."""
    small = ("replica.fetch.max.bytes=16384", "replica.fetch.response.max.bytes=65536", "fetch.buffer.bytes=1048576")
    link = get_link(east, *small)
    create_topic(east.bootstrap_servers, topic_name)
    for commit in (True, False, True):
        transaction(east.bootstrap_servers, topic_name, sized(1_500, seed=commit), commit=commit)
    mirror_exactly(link, topic_name, at_least=3_000)


def test_markers_first_in_a_log(link: TestLink, topic_name: str) -> None:
    """The log starts with the marker of a transaction whose records are gone."""
    at = link.source.bootstrap_servers
    create_topic(at, topic_name, 2)
    for partition, commit in enumerate((True, False)):
        transaction(at, topic_name, [Record(b"k", b"v", partition=partition)] * 5, commit=commit)
        write(link, topic_name, 3, partition=partition)
    delete_records(at, topic_name, {0: 5, 1: 5})
    mirror_exactly(link, topic_name, at_least=6)


def test_empty_transactions(link: TestLink, topic_name: str) -> None:
    """Markers of transactions without records: first, in a row, and last in the log."""
    at = link.source.bootstrap_servers
    create_topic(at, topic_name)
    for count in (1, 20, 3):
        assert write_markers(at, topic_name, count) == 0
        write(link, topic_name, 2)
    assert write_markers(at, topic_name) == 0
    mirror_exactly(link, topic_name, at_least=6)
    assert write_markers(at, topic_name, 2) == 0
    link.assert_exact(topic_name, at_least=6)


def test_markers_with_nothing_between_them(handmade_link: TestLink) -> None:
    mirror_exactly(handmade_link, "lone-markers", at_least=3)


# --- compaction ---


def test_compacted_holes_in_every_codec(handmade_link: TestLink) -> None:
    """Holes at the start, inside and between batches, an emptied batch, tombstones; a partition for each codec."""
    mirror_exactly(handmade_link, "compacted", at_least=5 * 27)


def test_drawn_logs(handmade_link: TestLink) -> None:
    """Six random logs of everything at once, from the model that the unit tests use."""
    mirror_exactly(handmade_link, "drawn", at_least=300, ignore=[What.TIMESTAMP_TYPE])


def test_cleaners_at_work_on_both_sides(link: TestLink, topic_name: str) -> None:
    """Cleaned at the source while it is copied, and at the destination afterwards, with our markers in the log: both
    end with the same last value of each key at the same offset.
    """
    at = link.source.bootstrap_servers
    configs = {"cleanup.policy": "compact", "segment.ms": "100", "min.cleanable.dirty.ratio": "0.01"}
    create_topic(at, topic_name, config=configs)
    link.mirror(topic_name)
    for turn in range(8):
        records = [Record(b"key %d" % i, None if (i + turn) % 5 == 0 else b"%d of %d" % (i, turn)) for i in range(20)]
        if turn % 3 == 1:
            transaction(at, topic_name, records, commit=turn % 2 == 1)
        else:
            produce(at, topic_name, records)
    link.await_caught_up(topic_name)
    # All turns may have been merged into one batch: only what comes behind it, and later, ends its segment.
    produce(at, topic_name, [Record(b"key 0", b"behind", None, int(time.time() * 1000) + 1_000)])
    link.await_caught_up(topic_name)
    for cluster in (link.source, link.destination):
        eventually(
            lambda c=cluster: len(all_records(c.bootstrap_servers, topic_name)) < 60,
            60,
            lambda c=cluster: f"{c.name} compacts {len(all_records(c.bootstrap_servers, topic_name))}",
            interval=0.5,
        )
    expected = last_values(link.source.bootstrap_servers, topic_name)
    assert len(expected) == 20
    assert last_values(link.destination.bootstrap_servers, topic_name) == expected
    assert last_values(link.destination.bootstrap_servers, topic_name, Isolation.UNCOMMITTED) == expected
    produce(at, topic_name, [Record(b"key 0", b"later")])
    link.await_caught_up(topic_name)
    assert last_values(link.destination.bootstrap_servers, topic_name) == last_values(
        link.source.bootstrap_servers, topic_name
    )


# --- where a log begins ---


def test_a_log_that_starts_late(link: TestLink, topic_name: str) -> None:
    """Aligned by markers: different starts, one in the middle of a batch, one at the end of its log."""
    at = link.source.bootstrap_servers
    create_topic(at, topic_name, 4)
    produce(at, topic_name, sized(400, partitions=4))
    delete_records(at, topic_name, {0: 1, 1: 57, 2: 100})
    mirror_exactly(link, topic_name, at_least=99 + 43 + 100)
    for partition in range(4):
        write(link, topic_name, 3, partition=partition)
    link.assert_exact(topic_name, at_least=99 + 43 + 100 + 12)


def test_a_log_that_starts_beyond_a_million(handmade_link: TestLink) -> None:
    """Aligned by filler, which is gone when `mirror create` returns."""
    topic = "far"
    handmade_link.mirror(topic)
    starts = Topic(handmade_link.destination.bootstrap_servers, topic, time.monotonic() + 20).bounds()
    assert {p: found.start for p, found in starts.items()} == {0: handmade.FAR, 1: 7, 2: 0}
    handmade_link.assert_exact(topic, at_least=18)
    write(handmade_link, topic, 3)
    handmade_link.assert_exact(topic, at_least=21)


@pytest.mark.parametrize("spec", ["latest", "2026-02-01T00:00:00Z"])
def test_start_at_the_end_or_at_a_time(get_link: GetLink, east: KafkaCluster, topic_name: str, spec: str) -> None:
    january, march = 1_767_225_600_000, 1_772_323_200_000
    create_topic(east.bootstrap_servers, topic_name, 2, config={"retention.ms": "-1"})
    for stamp, count in ((january, 150), (march, 30)):
        records = [Record(b"k", b"%d" % i, timestamp_ms=stamp + i) for i in range(count)]
        produce(east.bootstrap_servers, topic_name, records, partition=0)
    link = get_link(east, f"mirror.start.offset.spec={spec}")
    link.mirror(topic_name)
    write(link, topic_name, 5, partition=0)
    write(link, topic_name, 5, partition=1)
    wanted = {0: 180 if spec == "latest" else 150, 1: 0}
    shown = Topic(link.destination.bootstrap_servers, topic_name, time.monotonic() + 20).bounds()
    assert {p: found.start for p, found in shown.items()} == wanted
    link.assert_exact(topic_name, ignore=[What.LOG_START], at_least=10 + 180 - wanted[0])


# --- timestamps and formats ---


def test_log_append_time(link: TestLink, topic_name: str) -> None:
    """Each record keeps the time that readers of the source see; promoted, the topic stamps as its source does."""
    create_topic(link.source.bootstrap_servers, topic_name, config={"message.timestamp.type": "LogAppendTime"})
    records = [Record(b"k", b"%d" % i, timestamp_ms=1_000 + i) for i in range(500)]
    for codec in ("none", "lz4", "zstd"):
        produce(link.source.bootstrap_servers, topic_name, records, compression=codec)
    mirror_exactly(link, topic_name, at_least=1_500, ignore=[What.TIMESTAMP_TYPE])
    link.verb("promote", topic_name)
    assert topic_configs(link.destination, topic_name)["message.timestamp.type"] == "LogAppendTime"
    link.compare(topic_name, at_least=1_500, ignore=[What.TIMESTAMP_TYPE])


def test_a_log_whose_timestamp_type_changes_and_changes_back(link: TestLink, topic_name: str) -> None:
    create_topic(link.source.bootstrap_servers, topic_name)
    link.mirror(topic_name)
    old = [Record(b"k", b"%d" % i, timestamp_ms=int(time.time() * 1000) - 3_600_000 + i) for i in range(20)]
    for kind in ("CreateTime", "LogAppendTime", "CreateTime"):
        set_topic_config(link.source, topic_name, "message.timestamp.type", kind)
        eventually(lambda k=kind: produce_and_look(link, topic_name, old) == k, 20, f"the source stamps {kind}")
    link.assert_exact(topic_name, at_least=60, ignore=[What.TIMESTAMP_TYPE])


def produce_and_look(link: TestLink, topic: str, records: list[Record]) -> str:
    """The timestamp type that the source gave these records."""
    produce(link.source.bootstrap_servers, topic, records)
    reader = Topic(link.source.bootstrap_servers, topic, time.monotonic() + 20)
    with reader.picker(Isolation.COMMITTED) as picker:
        found = picker.pick(0, ends(link.source, topic)[0] - 1)
    assert found is not None
    return found.timestamp_type


def test_message_formats_v0_and_v1(handmade_link: TestLink) -> None:
    mirror_exactly(handmade_link, "old-formats", at_least=2 * 26, ignore=[What.TIMESTAMP_TYPE])


def test_records_of_any_time(link: TestLink, topic_name: str) -> None:
    """From 1970 to the year 9999, from day to day and back: brokers refuse these by default."""
    create_topic(link.source.bootstrap_servers, topic_name, config=ANY_TIMESTAMP)
    stamps = [1, 253_402_300_799_000, 2, int(time.time() * 1000), 253_402_300_799_000, 1_000_000_000_000]
    for batch_records in (1, 100):
        records = [Record(b"k", b"v", timestamp_ms=stamp) for stamp in stamps]
        produce(link.source.bootstrap_servers, topic_name, records, batch_records=batch_records)
    mirror_exactly(link, topic_name, at_least=12)


def test_records_without_a_time_and_beyond_all_times(handmade_link: TestLink) -> None:
    mirror_exactly(handmade_link, "odd-times", at_least=10)


# --- what can't be copied ---


def test_batches_larger_than_the_default_limit(link: TestLink, topic_name: str) -> None:
    """3 MB in a record: the mirror's limit is that of its source."""
    create_topic(link.source.bootstrap_servers, topic_name, config={"max.message.bytes": "4000000"})
    large = [Record(b"k", bytes([i]) * 3_000_000) for i in range(3)]
    produce(link.source.bootstrap_servers, topic_name, large, config={"message.max.bytes": 4_000_000})
    mirror_exactly(link, topic_name, at_least=3)


def test_a_batch_that_the_destination_refuses(link: TestLink, topic_name: str) -> None:
    """Its limit was lowered there: FAILED, with the offset; what came before stays exact."""
    create_topic(link.source.bootstrap_servers, topic_name)
    write(link, topic_name)
    link.mirror(topic_name)
    link.await_caught_up(topic_name)
    set_topic_config(link.destination, topic_name, "max.message.bytes", "2000")
    produce(link.source.bootstrap_servers, topic_name, [Record(b"k", b"x" * 5_000)])
    said = link.await_failed(topic_name, "DESTINATION_REFUSED", offset=10)
    assert "MessageSizeTooLarge" in said
    link.compare(topic_name, upto={0: 10}, at_least=10)


def test_a_corrupt_batch(link: TestLink, topic_name: str) -> None:
    """A byte of the source's segment is flipped: all before it is copied, then FAILED with its first offset."""
    create_topic(link.source.bootstrap_servers, topic_name)
    for _ in range(4):
        write(link, topic_name, 5)
    flip_byte(link.source, topic_name, 10)
    link.mirror(topic_name)
    said = link.await_failed(topic_name, "CORRUPT_BATCH", offset=10)
    assert "offsets 10 to 14" in said
    assert link.mirror_ends(topic_name) == {0: 10}
    link.verb("failover", topic_name)


def test_retention_overran_a_stopped_mirror(kmirror: Kmirror, east: KafkaCluster, west: KafkaCluster) -> None:
    """What is lost is told in the ledger and filled; more than gap.fill.max offsets end the mirror."""
    link = TestLink(kmirror, east, west, "overrun").create("gap.fill.max=1000")
    topics = {"lost": 1_000, "lost-too-much": 1_001}
    for topic in topics:
        create_topic(east.bootstrap_servers, topic, 2)
        write(link, topic, 50)
        link.mirror(topic)
        link.await_caught_up(topic)
    link.stop()
    for topic, lost in topics.items():
        produce(east.bootstrap_servers, topic, [Record(b"k", b"v")] * 1_500, partition=0)
        delete_records(east.bootstrap_servers, topic, {0: 50 + lost})
    link.start()
    link.await_caught_up("lost")
    link.compare("lost", ignore=[What.LOG_START], at_least=500)
    said = link.await_failed("lost-too-much", "RETENTION_OVERRUN", offset=50)
    assert "offsets 50 to 1050" in said
    assert "gap.fill.max" in said
    assert link.mirror_ends("lost-too-much") == {0: 50, 1: 0}
    ledger = (kmirror.runtime(link.name) / "gaps.jsonl").read_text().splitlines()
    (line,) = [json.loads(text) for text in ledger]
    assert (line["topic"], line["partition"], line["offset"], line["count"]) == ("lost", 0, 50, 1_000)
    write(link, "lost", 5)
    link.await_caught_up("lost")
    link.compare("lost", ignore=[What.LOG_START], at_least=505)
