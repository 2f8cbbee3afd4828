"""The judge is judged: on real brokers the oracle must see every kind of difference, and none where there is none.

Source and mirror are two topics of one cluster here: the oracle only knows addresses and names.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import pytest
from confluent_kafka import Consumer, TopicPartition

from kmirror.sandbox import KafkaCluster
from support.difference import What
from support.logs import Isolation
from support.oracle import DETAILED, Differences, assert_same, compare
from support.traffic import ANY_TIMESTAMP, CODECS, Record, Traffic, create_topic, produce, shapes, sized
from support.transactions import delete_records, open_transaction, transaction

THEN = 1_700_000_000_000

HEADERS = (("a", b"1"), ("b", b"2"), ("a", b"3"))

Found = set[tuple[int | None, What]]


def plain(count: int = 8) -> list[Record]:
    return [
        Record(f"key-{i}".encode(), f"value-{i}".encode(), (*HEADERS, ("n", b"%d" % i)), THEN + i, 0)
        for i in range(count)
    ]


@dataclass
class Pair:
    """A source topic and what claims to be its mirror."""

    bootstrap: str
    source: str
    mirror: str

    def create(self, partitions: int = 1, mirror_partitions: int | None = None) -> None:
        create_topic(self.bootstrap, self.source, partitions, config=ANY_TIMESTAMP)
        create_topic(self.bootstrap, self.mirror, mirror_partitions or partitions, config=ANY_TIMESTAMP)

    def write(self, source: Iterable[Record] = (), mirror: Iterable[Record] = ()) -> None:
        for topic, records in ((self.source, source), (self.mirror, mirror)):
            # One small batch each: nothing that a retry could put out of order, and half a second saved.
            produce(self.bootstrap, topic, records, partition=0, idempotent=False, linger_ms=50)

    def compare(self, **options: object) -> Differences:
        return compare(self.bootstrap, self.bootstrap, self.source, self.mirror, **options)


@pytest.fixture
def pair(west: KafkaCluster, topic_name: str) -> Pair:
    return Pair(west.bootstrap_servers, f"{topic_name}.source", f"{topic_name}.mirror")


@pytest.fixture
def topics(pair: Pair) -> Pair:
    pair.create()
    return pair


def at(differences: Differences, isolation: Isolation | None) -> Found:
    return {(d.offset, d.what) for d in differences if d.isolation == isolation}


def assert_finds(differences: Differences, expected: Found) -> None:
    """These at both isolation levels, and nothing else."""
    for isolation in Isolation:
        assert at(differences, isolation) == expected
    assert not at(differences, None)


# --- equal ---


def test_it_is_silent_about_equal_topics_of_every_shape_and_codec(pair: Pair) -> None:
    pair.create(len(CODECS))
    records = [replace(r, timestamp_ms=r.timestamp_ms or THEN) for r in shapes()]
    for partition, codec in enumerate(CODECS):
        for topic in (pair.source, pair.mirror):
            produce(pair.bootstrap, topic, records, partition=partition, compression=codec)
    found = pair.compare()
    assert found == []
    assert found.records == len(CODECS) * len(records)


def test_codec_and_batches_are_no_difference(topics: Pair) -> None:
    records = [replace(r, timestamp_ms=THEN) for r in sized(2_000, seed=7)]
    produce(topics.bootstrap, topics.source, records, compression="lz4", batch_records=10)
    produce(topics.bootstrap, topics.mirror, records, compression="zstd")
    assert topics.compare() == []


def test_equal_log_starts_and_markers_are_no_difference(topics: Pair) -> None:
    for topic in (topics.source, topics.mirror):
        transaction(topics.bootstrap, topic, plain(3), commit=False)
        transaction(topics.bootstrap, topic, plain(3))
        delete_records(topics.bootstrap, topic, {0: 5})
    found = topics.compare()
    assert found == []
    assert found.records == 2  # 0-3 aborted and its marker, 4-6 committed, 7 a marker; 5 and 6 are left


def test_empty_topics_are_equal_and_no_proof(topics: Pair) -> None:
    assert topics.compare() == []
    with pytest.raises(AssertionError, match="only 0 records"):
        assert_same(topics.bootstrap, topics.bootstrap, topics.source, topics.mirror)


# --- one record altered, everything else the same ---


def alter(**changes: object) -> Callable[[Record], Record]:
    return lambda record: replace(record, **changes)


def headers(*pairs: tuple[str, bytes | None]) -> dict[str, object]:
    return {"headers": pairs or None}


@pytest.mark.parametrize(
    ("source", "mirror", "what"),
    [
        pytest.param({"key": b"a"}, {"key": b"b"}, What.KEY, id="key"),
        pytest.param({"key": b""}, {"key": None}, What.KEY, id="empty key, null key"),
        pytest.param({"value": b"a"}, {"value": b"b"}, What.VALUE, id="value"),
        pytest.param({"value": b""}, {"value": None}, What.VALUE, id="empty value, null value"),
        pytest.param({"value": None}, {"value": b""}, What.VALUE, id="null value, empty value"),
        pytest.param(headers(("a", b"1")), headers(("a", b"2")), What.HEADERS, id="header value"),
        pytest.param(headers(("a", b"1")), headers(("b", b"1")), What.HEADERS, id="header name"),
        pytest.param(headers(("a", b"")), headers(("a", None)), What.HEADERS, id="empty header, null header"),
        pytest.param(headers(("a", None)), headers(("a", b"")), What.HEADERS, id="null header, empty header"),
        pytest.param(headers(("a", b"1")), headers(), What.HEADERS, id="header missing"),
        pytest.param(headers(), headers(("a", b"1")), What.HEADERS, id="header added"),
        pytest.param(headers(("a", b"1")), headers(("a", b"1"), ("a", b"1")), What.HEADERS, id="header repeated"),
        pytest.param(
            headers(("a", b"1"), ("b", b"2")), headers(("b", b"2"), ("a", b"1")), What.HEADERS, id="header order"
        ),
        pytest.param({"timestamp_ms": THEN}, {"timestamp_ms": THEN + 1}, What.TIMESTAMP, id="timestamp"),
        pytest.param({"timestamp_ms": 1}, {"timestamp_ms": 2}, What.TIMESTAMP, id="timestamp of 1970"),
    ],
)
def test_it_sees_one_part_of_one_record(
    topics: Pair, source: dict[str, object], mirror: dict[str, object], what: What
) -> None:
    records = plain()
    topics.write(
        [*records[:3], alter(**source)(records[3]), *records[4:]],
        [*records[:3], alter(**mirror)(records[3]), *records[4:]],
    )
    found = topics.compare()
    assert_finds(found, {(3, what)})
    assert all(what in str(difference) and "offset 3" in str(difference) for difference in found)


def test_it_sees_the_last_bit_of_a_large_value_and_says_where(topics: Pair) -> None:
    large = b"x" * 900_000
    topics.write([Record(b"k", large + b"\x00", None, THEN)], [Record(b"k", large + b"\x01", None, THEN)])
    found = topics.compare()
    assert_finds(found, {(0, What.VALUE)})
    assert "first differs at byte 900000" in str(found[0])
    assert len(str(found[0])) < 500


def test_it_sees_a_different_kind_of_timestamp(pair: Pair) -> None:
    create_topic(pair.bootstrap, pair.source, config={"message.timestamp.type": "LogAppendTime"})
    create_topic(pair.bootstrap, pair.mirror, config=ANY_TIMESTAMP)
    pair.write([Record(b"k", b"v")])
    reader = Consumer({"bootstrap.servers": pair.bootstrap, "group.id": pair.source})
    reader.assign([TopicPartition(pair.source, 0, 0)])
    message = reader.poll(10)
    reader.close()
    assert message is not None
    pair.write([], [Record(b"k", b"v", None, message.timestamp()[1])])
    assert_finds(pair.compare(), {(0, What.TIMESTAMP_TYPE)})
    assert pair.compare(ignore={What.TIMESTAMP_TYPE}) == []


# --- the sequence of records altered ---

ALL = {What.KEY, What.VALUE, What.HEADERS, What.TIMESTAMP}


def changed(*offsets: int) -> Found:
    return {(offset, what) for offset in offsets for what in ALL}


ENDS: Found = {(None, What.LOG_END)}


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        pytest.param([0, 1, 2, 3, 4, 5, 6], ENDS | {(7, What.MISSING)}, id="last missing"),
        pytest.param([0, 1, 2, 4, 5, 6, 7], ENDS | changed(3, 4, 5, 6) | {(7, What.MISSING)}, id="one missing"),
        pytest.param([1, 2, 3, 4, 5, 6, 7, 0], changed(*range(8)), id="shifted by one"),
        pytest.param([0, 1, 2, 4, 3, 5, 6, 7], changed(3, 4), id="reordered"),
        pytest.param([0, 1, 2, 3, 4, 5, 6, 7, 7], ENDS | {(8, What.EXTRA)}, id="last doubled"),
        pytest.param([0, 1, 1, 3, 4, 5, 6, 7], changed(2), id="one in place of another"),
        pytest.param(
            [0, 1, 1, 2, 3, 4, 5, 6, 7], ENDS | changed(2, 3, 4, 5, 6, 7) | {(8, What.EXTRA)}, id="one doubled"
        ),
        pytest.param([], ENDS | {(i, What.MISSING) for i in range(8)}, id="all missing"),
    ],
)
def test_it_sees_another_sequence(topics: Pair, order: list[int], expected: Found) -> None:
    records = plain()
    topics.write(records, [records[i] for i in order])
    assert_finds(topics.compare(), expected)


def test_it_sees_a_record_in_another_partition(pair: Pair) -> None:
    pair.create(2)
    pair.write([Record(b"k", b"v", None, THEN, 0)], [Record(b"k", b"v", None, THEN, 1)])
    found = pair.compare()
    records = {(d.partition, d.offset, d.what) for d in found if d.what is not What.LOG_END}
    assert records == {(0, 0, What.MISSING), (1, 0, What.EXTRA)}
    assert {d.partition for d in found if d.what is What.LOG_END} == {0, 1}


# --- markers and transactions ---


def test_it_sees_a_marker_too_many_at_the_end(topics: Pair) -> None:
    records = plain()
    topics.write(records, records[:-1])
    transaction(topics.bootstrap, topics.mirror, records[-1:])
    found = topics.compare()
    assert_finds(found, ENDS)
    assert {(d.source, d.destination) for d in found} == {(8, 9)}


def test_it_sees_a_marker_too_many_in_the_middle(topics: Pair) -> None:
    records = plain(4)
    topics.write(records, records[:1])
    transaction(topics.bootstrap, topics.mirror, records[1:2])
    topics.write([], records[2:])
    assert_finds(topics.compare(), ENDS | {(2, What.MISSING), (4, What.EXTRA)} | changed(3))


def test_it_sees_a_marker_in_place_of_a_record(topics: Pair) -> None:
    records = plain(4)
    topics.write(records)
    transaction(topics.bootstrap, topics.mirror, records[:2])
    topics.write([], records[3:])
    assert_finds(topics.compare(), {(2, What.MISSING)})


def test_it_sees_a_record_in_place_of_a_marker(topics: Pair) -> None:
    records = plain(4)
    transaction(topics.bootstrap, topics.source, records[:2])
    topics.write(records[3:], records)
    assert_finds(topics.compare(), {(2, What.EXTRA)})


def test_it_sees_a_copied_aborted_record(topics: Pair) -> None:
    records = plain(3)
    transaction(topics.bootstrap, topics.source, records[:1], commit=False)
    topics.write(records[2:], records)
    assert_finds(topics.compare(), {(0, What.EXTRA), (1, What.EXTRA)})


def test_an_aborted_record_at_the_mirror_is_seen_at_read_uncommitted_alone(topics: Pair) -> None:
    """Contract: what the source aborted is visible at the mirror at neither level."""
    for topic in (topics.source, topics.mirror):
        transaction(topics.bootstrap, topic, plain(1), commit=False)
    found = topics.compare()
    assert at(found, Isolation.UNCOMMITTED) == {(0, What.EXTRA)}
    assert at(found, Isolation.COMMITTED) == set()


def test_the_source_counts_up_to_its_last_stable_offset(topics: Pair) -> None:
    records = plain(3)
    topics.write(records[:2], records[:2])
    with open_transaction(topics.bootstrap, topics.source, records[2:]):
        found = topics.compare()
        assert found == []
        assert found.records == 2
        topics.write([], records[2:])
        assert_finds(topics.compare(), ENDS | {(2, What.EXTRA)})


def test_it_sees_an_open_transaction_at_the_mirror(topics: Pair) -> None:
    records = plain(3)
    topics.write(records, records[:2])
    with open_transaction(topics.bootstrap, topics.mirror, records[2:]):
        found = topics.compare()
    assert at(found, Isolation.UNCOMMITTED) == set()
    assert at(found, Isolation.COMMITTED) == ENDS | {(2, What.MISSING)}


# --- log starts, partitions, topics ---


@pytest.mark.parametrize(("source", "mirror"), [(0, 4), (4, 0), (2, 4)])
def test_it_sees_another_log_start(topics: Pair, source: int, mirror: int) -> None:
    topics.write(plain(), plain())
    delete_records(topics.bootstrap, topics.source, {0: source})
    delete_records(topics.bootstrap, topics.mirror, {0: mirror})
    found = topics.compare()
    assert [(d.partition, d.what, d.source, d.destination) for d in found] == [(0, What.LOG_START, source, mirror)]
    assert topics.compare(ignore={What.LOG_START}) == []


def test_it_sees_a_missing_partition(pair: Pair) -> None:
    pair.create(3, mirror_partitions=2)
    found = pair.compare()
    assert [(d.partition, d.what, d.source, d.destination) for d in found] == [(None, What.PARTITIONS, 3, 2)]


def test_it_sees_a_partition_too_many_and_still_compares_the_others(pair: Pair) -> None:
    pair.create(1, mirror_partitions=2)
    pair.write(plain(1))
    assert {d.what for d in pair.compare()} == {What.PARTITIONS, What.LOG_END, What.MISSING}


def test_a_mirror_that_is_not_there_is_a_difference(pair: Pair) -> None:
    create_topic(pair.bootstrap, pair.source)
    assert [str(d) for d in pair.compare()] == ["partition count: source 1, destination 0"]


def test_a_source_that_is_not_there_is_an_error(pair: Pair) -> None:
    create_topic(pair.bootstrap, pair.mirror)
    with pytest.raises(LookupError, match="no topic"):
        pair.compare()


# --- options ---


def test_upto_looks_at_offsets_below_only(topics: Pair) -> None:
    records = plain()
    topics.write(records, [*records[:5], Record(b"written after the failover", b"")])
    assert topics.compare(upto={0: 5}) == []
    assert_finds(topics.compare(upto={0: 6}), changed(5))
    assert_finds(topics.compare(upto={0: 7}), ENDS | changed(5) | {(6, What.MISSING)})


def test_may_lag_forgives_a_short_mirror_but_no_wrong_one(topics: Pair) -> None:
    records = plain()
    topics.write(records, records[:5])
    found = topics.compare(may_lag=True)
    assert found == []
    assert found.records == 5
    topics.write([], records[6:7])
    assert_finds(topics.compare(may_lag=True), changed(5))


def test_may_lag_does_not_forgive_a_mirror_that_is_ahead(topics: Pair) -> None:
    topics.write(plain(2), plain(3))
    assert_finds(topics.compare(may_lag=True), ENDS | {(2, What.EXTRA)})


def test_only_starts_and_timestamp_types_can_be_ignored(topics: Pair) -> None:
    with pytest.raises(ValueError, match="can be ignored"):
        topics.compare(ignore={What.VALUE})


def test_it_tells_the_first_records_and_counts_the_rest(topics: Pair) -> None:
    count = DETAILED + 5
    records = plain(count)
    topics.write(records, [replace(r, value=b"changed") for r in records])
    found = topics.compare()
    assert sum(d.what is What.VALUE for d in found) == DETAILED
    # All of one level, then all of the other: none of them is lost.
    assert (found[-1].what, found[-1].destination) == (What.MORE, 2 * count - DETAILED)
    with pytest.raises(AssertionError, match=f"and {2 * count - DETAILED} more records that differ"):
        assert_same(topics.bootstrap, topics.bootstrap, topics.source, topics.mirror)


def test_it_ends_while_the_source_grows(topics: Pair) -> None:
    with Traffic(topics.bootstrap, topics.source, rate=2_000) as traffic:
        deadline = time.monotonic() + 30
        while traffic.acked < 100 and time.monotonic() < deadline:
            topics.compare(may_lag=True)
        assert topics.compare(may_lag=True) == []
        assert {d.what for d in topics.compare()} == {What.LOG_END, What.MISSING, What.MORE}
    assert traffic.acked == traffic.sent
    assert not traffic.failed
    (count,) = {d.source for d in topics.compare() if d.what is What.LOG_END}
    assert count == traffic.acked
