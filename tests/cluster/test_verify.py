"""`kmirror mirror verify` on real brokers: silent about every kind of log that is exact, and blind to no difference.

Altered mirrors are written by plain producers and recorded as mirrors; both ways of reading must see each alteration.
"""

import json
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Timer

import pytest

from kmirror.admin.cluster import ClusterAdmin
from kmirror.model.access import Access
from kmirror.model.mirror import Mirror
from kmirror.model.states import MirrorState
from kmirror.model.verification import Level, What
from kmirror.ops.mirror_verify import Options, TopicFindings, verify_mirrors
from kmirror.ops.verify_plan import Selection
from kmirror.sandbox import KafkaCluster
from kmirror.state.paths import Home
from support import logs
from support.kmirror_cli import Kmirror
from support.logs import Isolation
from support.mirrors import TestLink, ends
from support.recorded import a_link, store
from support.traffic import ANY_TIMESTAMP, CODECS, Record, Traffic, create_topic, produce, shapes
from support.transactions import delete_records, open_transaction, transaction
from support.wait import eventually

THEN = 1_700_000_000_000
LINK = "east-west"

Found = set[tuple[int | None, tuple[What, ...], Level]]


def plain(count: int = 8) -> list[Record]:
    return [Record(b"key-%d" % i, b"value-%d" % i, (("n", b"%d" % i),), THEN + i, 0) for i in range(count)]


@dataclass
class Pair:
    """A source topic and what is recorded as its mirror: two topics of one cluster."""

    home: Home
    cluster: KafkaCluster
    source: str
    mirror: str

    def create(self, config: dict[str, str] = ANY_TIMESTAMP, mirror_config: dict[str, str] | None = None) -> "Pair":
        create_topic(self.bootstrap, self.source, config=config)
        create_topic(self.bootstrap, self.mirror, config=mirror_config or config)
        return self.record()

    def record(self, **more: object) -> "Pair":
        admin = ClusterAdmin(Access(self.bootstrap), "source")
        ids = (admin.topic(self.source).topic_id, admin.topic(self.mirror).topic_id)
        mirror = Mirror(self.mirror, self.source, *ids, 1, MirrorState.ACTIVE, 1, **more)
        link = a_link(LINK, mirror, source=self.bootstrap, destination=self.bootstrap)
        store(self.home, replace(link, source_cluster_id="", destination_cluster_id=""))
        return self

    @property
    def bootstrap(self) -> str:
        return self.cluster.bootstrap_servers

    def write(self, source: Iterable[Record] = (), mirror: Iterable[Record] = ()) -> None:
        for topic, records in ((self.source, source), (self.mirror, mirror)):
            # One small batch each: nothing that a retry could put out of order, and half a second saved.
            produce(self.bootstrap, topic, records, partition=0, idempotent=False, linger_ms=50)

    def verify(self, options: Options = Options()) -> TopicFindings:  # noqa: B008  # it is frozen
        (findings,) = verify_mirrors(
            self.home, LINK, [self.mirror], options, tell=lambda _: None, interrupted=lambda: False
        )
        if findings.error:
            raise findings.error
        return findings

    def finds(self, *expected: tuple[int | None, What | tuple[What, ...], Level]) -> None:
        """Both ways find these differences, in this order, and no other."""
        wanted = [(at, what if isinstance(what, tuple) else (what,), level) for at, what, level in expected]
        for independent in (False, True):
            found = self.verify(Options(independent=independent))
            assert [(d.offset, d.what, d.level) for d in found.differences] == wanted, f"{independent=}"


@pytest.fixture
def pair(west: KafkaCluster, topic_name: str, tmp_path: Path) -> Pair:
    return Pair(Home(tmp_path, tmp_path / "run"), west, f"{topic_name}.source", f"{topic_name}.mirror")


@pytest.fixture
def topics(pair: Pair) -> Pair:
    return pair.create()


# --- the altered ones


def test_equal_topics_are_the_same(topics: Pair) -> None:
    topics.write(plain(), plain())
    topics.finds()
    assert topics.verify().records == 8


PARTS = [
    ({"key": b"other"}, What.KEY),
    ({"key": None}, What.KEY),
    ({"value": b"other"}, What.VALUE),
    ({"value": None}, What.VALUE),
    ({"headers": None}, What.HEADERS),
    ({"headers": (("n", None),)}, What.HEADERS),
    ({"timestamp_ms": THEN}, What.TIMESTAMP),
]


def test_each_part_of_a_record(topics: Pair) -> None:
    records = plain(len(PARTS) + 1)
    altered = [replace(r, **change) for r, (change, _) in zip(records[1:], PARTS, strict=True)]
    topics.write(records, [records[0], *altered])
    topics.finds(*((offset, what, Level.BOTH) for offset, (_, what) in enumerate(PARTS, start=1)))


def test_a_missing_record_and_an_extra_one(topics: Pair) -> None:
    """A marker stands where the other side has a record."""
    records = plain(4)
    transaction(topics.bootstrap, topics.source, records[:1])
    topics.write(records[2:], records[:2])
    transaction(topics.bootstrap, topics.mirror, records[2:3])
    topics.finds((1, What.EXTRA, Level.BOTH), (3, What.MISSING, Level.BOTH))


def test_a_shifted_record(topics: Pair) -> None:
    records = plain(4)
    topics.write(records, [records[0], *records[2:]])
    everything = (What.KEY, What.VALUE, What.HEADERS, What.TIMESTAMP)
    topics.finds((1, everything, Level.BOTH), (2, everything, Level.BOTH))


def test_more_than_the_source_has(topics: Pair) -> None:
    topics.write(plain(2), plain(3))
    topics.finds((None, What.LOG_END, Level.BOTH), (2, What.EXTRA, Level.BOTH))


def test_an_aborted_record_is_seen_at_read_uncommitted(topics: Pair) -> None:
    """What the source aborted shows at the mirror at neither level."""
    for topic in (topics.source, topics.mirror):
        transaction(topics.bootstrap, topic, plain(1), commit=False)
    topics.write(plain(1), plain(1))
    topics.finds((0, What.EXTRA, Level.UNCOMMITTED))


def test_an_open_transaction_at_the_mirror(topics: Pair) -> None:
    topics.write(plain(2), plain(1))
    with open_transaction(topics.bootstrap, topics.mirror, plain(2)[1:]):
        topics.finds((None, What.LOG_END, Level.COMMITTED), (1, What.MISSING, Level.COMMITTED))


@pytest.mark.parametrize(("source", "mirror"), [(0, 4), (4, 0), (2, 4)])
def test_another_log_start(topics: Pair, source: int, mirror: int) -> None:
    topics.write(plain(), plain())
    delete_records(topics.bootstrap, topics.source, {0: source})
    delete_records(topics.bootstrap, topics.mirror, {0: mirror})
    topics.finds((None, What.LOG_START, Level.BOTH))
    assert topics.verify().differences[0].source == source
    assert topics.verify(Options(Selection(ignore_log_start=True))).differing == 0


def test_a_mirror_that_began_late_begins_there(topics: Pair) -> None:
    topics.write(plain(), plain())
    delete_records(topics.bootstrap, topics.mirror, {0: 5})
    topics.record(start_offsets=(5,)).finds()


def test_what_compaction_removed_at_one_side_is_no_difference(pair: Pair) -> None:
    """Markers stand in place of a record that has a later one of its key, of a tombstone, and of one that has none."""
    pair.create({**ANY_TIMESTAMP, "cleanup.policy": "compact", "min.cleanable.dirty.ratio": "1"})
    records = [Record(key, value, None, THEN) for key, value in ((b"a", b"1"), (b"t", None), (b"once", b"1"))]
    last = [Record(key, b"2", None, THEN) for key in (b"a", b"b")]
    for record in records:
        pair.write([Record(b"b", b"1", None, THEN), record])
        transaction(pair.bootstrap, pair.mirror, [Record(b"b", b"1", None, THEN)])
    pair.write(last, last)
    found = pair.verify()
    pair.finds((5, What.MISSING, Level.BOTH))
    assert [note for note in found.notes if "compaction" in note]


# --- the command


def test_it_exits_with_3_and_says_where(topics: Pair, kmirror: Kmirror) -> None:
    topics.home = Home(kmirror.home, kmirror.home / "run")
    topics.record()
    changed = [replace(record, value=b"other") if i == 5 else record for i, record in enumerate(plain())]
    topics.write(plain(), changed)
    done = kmirror.run("mirror", "verify", topics.mirror, "--link", LINK, check=False)
    assert done.returncode == 3, done.stderr
    assert f"{topics.mirror} partition 0 offset 5: value: source b'value-5', mirror b'other'" in done.stdout
    done = kmirror.run("mirror", "verify", "nonesuch", topics.mirror, "--link", LINK, "-o", "json", check=False)
    assert done.returncode == 1
    missing, compared = json.loads(done.stdout)
    assert (missing["result"], compared["result"]) == ("failed", "different")
    (difference,) = compared["differences"]
    assert (difference["offset"], difference["what"], difference["source"]["value"]) == (5, ["value"], "value-5")
    assert kmirror.json("mirror", "verify", topics.mirror, "--link", LINK, "--from-offset", "6")[0]["records"] == 2


def test_parts_and_what_comes_later(topics: Pair) -> None:
    """A sample is the same with the same seed; --since goes by the source's timestamps; --follow sees what comes."""
    records = [replace(record, timestamp_ms=None) for record in plain(100)]
    old = [replace(record, timestamp_ms=THEN) for record in plain(100)]
    topics.write(old, old)
    now_ms = int(time.time() * 1000) - 1000
    counts = {topics.verify(Options(Selection(sample=20, seed=seed))).offsets for seed in (1, 1, 2)}
    assert counts == {20}
    assert topics.verify(Options(Selection(since_ms=now_ms))).records == 0
    fresh = [replace(record, timestamp_ms=now_ms + 60_000) for record in records[:5]]
    topics.write(fresh, fresh)
    assert topics.verify(Options(Selection(since_ms=now_ms))).records == 5
    differences: list[int] = []
    later = Timer(1, lambda: topics.write(plain(1), [replace(plain(1)[0], value=b"other")]))
    later.start()
    watched = verify_mirrors(
        topics.home,
        LINK,
        [topics.mirror],
        Options(follow=True, timeout_s=30),
        tell=lambda progress: differences.append(progress.differences),
        interrupted=lambda: any(differences),
    )
    later.join()
    assert [d.offset for d in watched[0].differences] == [105]


# --- real mirrors


def same(link: TestLink, *topics: str) -> list[TopicFindings]:
    """Both ways find nothing, and looked at something."""
    home = Home(link.kmirror.home, link.kmirror.home / "run")
    out = []
    for independent in (True, False):
        out = verify_mirrors(
            home, link.name, topics, Options(independent=independent), tell=lambda _: None, interrupted=lambda: False
        )
        for found in out:
            assert found.error is None, found.error
            assert found.differences == [], f"{found.topic} {independent=}\n{found.differences}\n{link.log()}"
            assert found.records > 0
    return out


def compacted(cluster: KafkaCluster, topic: str) -> None:
    """Writes a topic until the cleaner has made holes into it."""
    config = {"cleanup.policy": "compact", "segment.ms": "200", "min.cleanable.dirty.ratio": "0.01"}
    create_topic(cluster.bootstrap_servers, topic, config=config)

    def cleaned() -> bool:
        records = [Record(b"%d" % (i % 7), b"%d" % i) for i in range(40)]
        produce(cluster.bootstrap_servers, topic, records, idempotent=False)
        end = ends(cluster, topic)[0]
        log = logs.Topic(cluster.bootstrap_servers, topic, time.monotonic() + 10)
        return len(log.read({0: range(end)}, Isolation.COMMITTED)[0].offsets) < end

    eventually(cleaned, 30, "the cleaner removed something", 0.3)


def test_every_kind_of_log_is_the_same(
    kmirror: Kmirror, east: KafkaCluster, west: KafkaCluster, topic_name: str
) -> None:
    bootstrap = east.bootstrap_servers
    names = [f"{topic_name}.{kind}" for kind in ("plain", "transactions", "compacted", "append-time")]
    create_topic(bootstrap, names[0], len(CODECS), config=ANY_TIMESTAMP)
    for partition, codec in enumerate(CODECS):
        produce(bootstrap, names[0], shapes(partition), partition=partition, compression=codec)
    create_topic(bootstrap, names[1], config=ANY_TIMESTAMP)
    for commit in (True, False, True, False):
        transaction(bootstrap, names[1], plain(5), commit=commit)
    compacted(east, names[2])
    create_topic(bootstrap, names[3], config={"message.timestamp.type": "LogAppendTime"})
    produce(bootstrap, names[3], plain(50), compression="lz4")
    link = TestLink(kmirror, east, west).create()
    for name in names:
        link.mirror(name)
    for name in names:
        link.await_caught_up(name)
    found = same(link, *names)
    assert [f.records for f in found[1::2]] == [10, 50]
    row = kmirror.json("mirror", "verify", *names, "--link", link.name)[0]
    assert (row["result"], row["differences"], row["end_offsets"]) == ("same", [], [len(shapes())] * len(CODECS))


def test_a_late_mirror_that_is_promoted_under_traffic(
    kmirror: Kmirror, east: KafkaCluster, west: KafkaCluster, topic_name: str
) -> None:
    create_topic(east.bootstrap_servers, topic_name)
    produce(east.bootstrap_servers, topic_name, plain(20), idempotent=False)
    link = TestLink(kmirror, east, west).create("mirror.start.offset.spec=latest")
    with Traffic(east.bootstrap_servers, topic_name, rate=500):
        link.mirror(topic_name)
        link.await_beyond(topic_name, link.mirror_ends(topic_name))
        same(link, topic_name)
        link.verb("promote", topic_name)
        end = link.mirror_ends(topic_name)[0]
        produce(west.bootstrap_servers, topic_name, plain(20), idempotent=False)
        eventually(lambda: ends(east, topic_name)[0] > end + 20, 20)
        (found,) = same(link, topic_name)
    assert found.ends == (end,)
    assert found.not_copied == 0
