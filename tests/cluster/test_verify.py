"""`kmirror mirror verify` on real brokers: silent about every kind of log that is exact, and blind to no difference.

Altered mirrors are written by plain producers and recorded as mirrors; both ways of reading must see each alteration.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from kmirror.admin.cluster import ClusterAdmin
from kmirror.model.mirror import Mirror
from kmirror.model.states import MirrorState
from kmirror.model.verification import Level, What
from kmirror.ops.mirror_verify import Options, TopicFindings, verify_mirrors
from kmirror.ops.verify_plan import Selection
from kmirror.sandbox import KafkaCluster
from kmirror.state.paths import Home
from support.kmirror_cli import Kmirror
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
        admin = ClusterAdmin(self.bootstrap, "source")
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
