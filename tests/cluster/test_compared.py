"""MirrorMaker 2 and kmirror on the same source topics: what each loses or changes, as the table of a page of the docs.

Only what is the same in each run goes in. `UPDATE_DOCS=1` writes the table anew.
"""

import json
import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, TopicPartition
from confluent_kafka.admin import AdminClient

from kmirror.sandbox import KafkaCluster
from support import processes
from support.kmirror_cli import Kmirror
from support.logs import Isolation, Seen, Topic
from support.mirror_maker import MirrorMaker
from support.mirrors import TestLink, delete_topic
from support.raw import await_fetches_over
from support.traffic import Record, create_topic, produce, turn_ms
from support.transactions import delete_records, transaction
from support.wait import eventually

PAGE = Path(__file__).parents[2] / "docs" / "compared-with-mirrormaker.md"
BEGIN, END = "<!-- made by tests/cluster/test_compared.py -->\n", "<!-- until here -->\n"
PREFIX = "compared."
SLOW_S = 90
"""MirrorMaker 2 takes some ten seconds to start, and as long to notice that it was killed."""

FETCH_WAIT_MS = 500
"""fetch.max.wait.ms as Kafka's consumers have it by default, and MirrorMaker 2's."""

MIRROR_MAKER = {
    "sync.group.offsets.enabled": "true",
    "sync.group.offsets.interval.seconds": "1",
    "emit.checkpoints.interval.seconds": "1",
    "refresh.groups.interval.seconds": "1",
    "refresh.topics.interval.seconds": "2",
}

LINK = {
    "metadata.max.age.ms": "500",
    "consumer.offset.sync.enable": "true",
    "consumer.offset.sync.ms": "1000",
    "consumer.offset.group.filters": json.dumps(
        {"groupFilters": [{"name": "compared-group", "patternType": "LITERAL", "filterType": "INCLUDE"}]}
    ),
}


@dataclass
class Both:
    """Both tools at work from `east` to `west`. A topic has its own name with MirrorMaker 2, another with kmirror."""

    east: KafkaCluster
    west: KafkaCluster
    link: TestLink
    maker: MirrorMaker
    topics: list[str] = field(default_factory=list)

    def create(self, name: str, **config: str) -> str:
        topic = PREFIX + name
        create_topic(self.east.bootstrap_servers, topic, config={k.replace("_", "."): v for k, v in config.items()})
        self.topics.append(topic)
        return topic

    def write(self, topic: str, *values: bytes) -> None:
        produce(self.east.bootstrap_servers, topic, [Record(b"k", value) for value in values])

    def source(self, topic: str) -> list[Seen]:
        return records(self.east, topic, Isolation.COMMITTED)

    def theirs(self, topic: str) -> list[Seen]:
        return records(self.west, topic)

    def ours(self, topic: str) -> list[Seen]:
        return records(self.west, mirror_of(topic))

    def await_copied(self, topic: str, value: bytes) -> None:
        """By both."""
        for name in (mirror_of(topic), topic):
            self.await_value(name, value)

    def await_value(self, copy: str, value: bytes) -> None:
        eventually(
            lambda: value in [record.value for record in records(self.west, copy)],
            SLOW_S,
            lambda: f"{value!r} comes to {copy}\n{self.maker.log()}\n{self.link.log()}",
            0.3,
        )


def mirror_of(topic: str) -> str:
    return topic.replace(PREFIX, "exact.")


def records(cluster: KafkaCluster, topic: str, isolation: Isolation = Isolation.UNCOMMITTED) -> list[Seen]:
    """What a consumer sees of partition 0."""
    return Topic(cluster.bootstrap_servers, topic, time.monotonic() + 20).records(isolation)


def values(seen: list[Seen]) -> list[bytes | None]:
    return [record.value for record in seen]


def offsets(seen: list[Seen]) -> dict[bytes | None, int]:
    return {record.value: record.offset for record in seen}


@dataclass(frozen=True)
class Row:
    """What is looked at: `prepare` before either tool starts, `look` afterwards; that gives both cells."""

    what: str
    prepare: Callable[[Both], str]
    look: Callable[[Both, str], tuple[str, str]]


def both_cells(judge: Callable[[list[Seen]], str], both: Both, topic: str) -> tuple[str, str]:
    return judge(both.theirs(topic)), judge(both.ours(topic))


def at_equal_offsets(both: Both, topic: str) -> tuple[str, str]:
    """Of the records that both sides still show: a cleaner works when it likes."""
    wanted = offsets(both.source(topic))

    def judge(seen: list[Seen]) -> str:
        found = offsets(seen)
        assert b"last" in found
        return "equal" if all(found[value] == wanted[value] for value in found.keys() & wanted) else "others"

    return both_cells(judge, both, topic)


# --- the rows


def some_transactions(both: Both) -> str:
    topic = both.create("transactions")
    both.write(topic, b"first")
    for number, commit in enumerate((True, False, True)):
        name = b"committed" if commit else b"aborted"
        values_ = [b"%s %d" % (name, 10 * number + i) for i in range(3)]
        transaction(both.east.bootstrap_servers, topic, [Record(b"k", value) for value in values_], commit=commit)
    both.write(topic, b"last")
    return topic


def aborted_records(both: Both, topic: str) -> tuple[str, str]:
    def judge(seen: list[Seen]) -> str:
        return "visible to every consumer" if b"aborted 10" in values(seen) else "invisible"

    return both_cells(judge, both, topic)


def committed_records(both: Both, topic: str) -> tuple[str, str]:
    wanted = values(both.source(topic))

    def judge(seen: list[Seen]) -> str:
        return "all there" if set(wanted) <= set(values(seen)) else "some are missing"

    return both_cells(judge, both, topic)


def a_compacted_topic(both: Both) -> str:
    topic = both.create("compacted", cleanup_policy="compact", segment_ms="100", min_cleanable_dirty_ratio="0.01")
    for turn in range(6):
        stamp = turn_ms(turn)
        batch = [Record(b"key %d" % i, b"%d of %d" % (i, turn), None, stamp) for i in range(10)]
        produce(both.east.bootstrap_servers, topic, batch)
    eventually(lambda: len(both.source(topic)) < 40, 60, "the source compacts", 0.5)
    both.write(topic, b"last")
    return topic


def a_late_start(both: Both) -> str:
    topic = both.create("late-start")
    both.write(topic, *(b"%d" % i for i in range(20)), b"last")
    delete_records(both.east.bootstrap_servers, topic, {0: 7})
    return topic


def append_time(both: Both) -> str:
    topic = both.create("append-time", message_timestamp_type="LogAppendTime")
    both.write(topic, b"first", b"last")
    return topic


def timestamps(both: Both, topic: str) -> tuple[str, str]:
    wanted = [record.timestamp for record in both.source(topic)]
    return both_cells(lambda seen: "kept" if [r.timestamp for r in seen] == wanted else "others", both, topic)


GROUP, COMMITTED, WRITTEN = "compared-group", 137, 300


def a_group(both: Both) -> str:
    topic = both.create("group")
    both.write(topic, *(b"%d" % i for i in range(WRITTEN)), b"last")
    consumer = Consumer({"bootstrap.servers": both.east.bootstrap_servers, "group.id": GROUP})
    place = TopicPartition(topic, 0, COMMITTED)
    eventually(lambda: consumer.commit(offsets=[place], asynchronous=False), 30, "the group has committed")
    consumer.close()
    return topic


def where_a_group_goes_on(both: Both, topic: str) -> tuple[str, str]:
    def committed(copy: str) -> int | None:
        client = AdminClient({"bootstrap.servers": both.west.bootstrap_servers, "log_level": 2})
        asked = [ConsumerGroupTopicPartitions(GROUP, [TopicPartition(copy, 0)])]
        (found,) = client.list_consumer_group_offsets(asked)[GROUP].result().topic_partitions
        return found.offset if found.offset >= 0 else None

    def judge(copy: str) -> str:
        at = eventually(lambda: committed(copy), SLOW_S, f"{copy} has an offset of the group", 0.5)
        if at == COMMITTED:
            return "at the next record"
        return "earlier: it reads records again" if at < COMMITTED else "later: it skips records"

    return judge(topic), judge(mirror_of(topic))


def some_records(name: str) -> Callable[[Both], str]:
    def prepare(both: Both) -> str:
        topic = both.create(name)
        both.write(topic, *(b"%d" % i for i in range(20)), b"last")
        return topic

    return prepare


def retention_overran(both: Both, topic: str) -> tuple[str, str]:
    processes.freeze(both.maker.pid)
    # Else a fetch that waits for records at the broker has them before retention does, and brings them when it thaws.
    await_fetches_over(both.east.bootstrap_servers, topic, FETCH_WAIT_MS)
    both.link.stop()
    both.write(topic, *(b"later %d" % i for i in range(50)), b"survived")
    delete_records(both.east.bootstrap_servers, topic, {0: 51})
    both.link.start()
    os.kill(both.maker.pid, signal.SIGCONT)
    both.await_copied(topic, b"survived")
    wanted = offsets(both.source(topic))[b"survived"]
    told = [gap["mirror_topic_name"] for gap in both.link.kmirror.json("gaps")]

    def judge(seen: list[Seen]) -> str:
        return "later offsets are equal" if offsets(seen)[b"survived"] == wanted else "later offsets are others"

    theirs, ours = both_cells(judge, both, topic)
    return theirs, ours + ("; `kmirror gaps` names what is lost" if mirror_of(topic) in told else "")


def made_anew(both: Both, topic: str) -> tuple[str, str]:
    delete_topic(both.east, topic)
    create_topic(both.east.bootstrap_servers, topic)
    both.write(topic, b"of another topic")
    both.link.await_failed(mirror_of(topic), "SOURCE_TOPIC_ID_CHANGED")
    both.await_value(topic, b"of another topic")
    ours = values(both.ours(topic))
    assert b"of another topic" not in ours
    assert b"last" in values(both.theirs(topic))
    return "the new topic's records follow the old one's", "FAILED (SOURCE_TOPIC_ID_CHANGED)"


def somebody_else(both: Both, topic: str) -> tuple[str, str]:
    for copy in (topic, mirror_of(topic)):
        produce(both.west.bootstrap_servers, copy, [Record(b"k", b"foreign")])
    both.write(topic, b"behind it")
    both.link.await_failed(mirror_of(topic), "FOREIGN_WRITER")
    both.await_value(topic, b"behind it")
    theirs = offsets(both.theirs(topic))
    assert theirs[b"behind it"] == offsets(both.source(topic))[b"behind it"] + 1 == theirs[b"foreign"] + 1
    return "unnoticed; later offsets are others", "FAILED (FOREIGN_WRITER)"


def killed(both: Both, topic: str) -> tuple[str, str]:
    both.maker.kill()
    both.link.kill()
    both.write(topic, b"after it")
    both.link.start()
    with both.maker:
        both.await_copied(topic, b"after it")

        def judge(seen: list[Seen]) -> str:
            found = values(seen)
            return "records are there twice" if len(found) > len(set(found)) else "each record once"

        return both_cells(judge, both, topic)


ROWS = [
    Row("records of a transaction that was aborted", some_transactions, aborted_records),
    Row("records of committed transactions", lambda _: f"{PREFIX}transactions", committed_records),
    Row("offsets behind a transaction", lambda _: f"{PREFIX}transactions", at_equal_offsets),
    Row("offsets of a compacted topic", a_compacted_topic, at_equal_offsets),
    Row("offsets of a log that starts late (retention)", a_late_start, at_equal_offsets),
    Row("timestamps of a topic with LogAppendTime", append_time, timestamps),
    Row("a consumer group goes on", a_group, where_a_group_goes_on),
    Row("retention removed records before they were copied", some_records("overrun"), retention_overran),
    Row("the topic was deleted and created anew", some_records("anew"), made_anew),
    Row("somebody else writes to the copy", some_records("foreign"), somebody_else),
    Row("the process is killed (`kill -9`) and started again", some_records("killed"), killed),
]
"""The last kills MirrorMaker 2."""


@pytest.fixture
def both(
    kmirror: Kmirror, east: KafkaCluster, west: KafkaCluster, tmp_path: Path
) -> Iterator[tuple[Both, dict[str, str]]]:
    maker = MirrorMaker(tmp_path / "mm2", east, west, re.escape(PREFIX) + ".*", MIRROR_MAKER)
    made = Both(east, west, TestLink(kmirror, east, west, "compared"), maker)
    prepared = {row.what: row.prepare(made) for row in ROWS}
    configs = tmp_path / "link.properties"
    configs.write_text("".join(f"{key}={value}\n" for key, value in LINK.items()))
    made.link.kmirror.run(
        *("link", "create", made.link.name, "--config", str(configs)),
        *("--source-bootstrap-server", east.bootstrap_servers),
        *("--destination-bootstrap-server", west.bootstrap_servers),
    )
    with maker:
        for topic in made.topics:
            made.link.mirror(mirror_of(topic), "--source-topic", topic)
        for topic in made.topics:
            made.await_copied(topic, b"last")
        yield made, prepared


def test_the_table_of_the_page_is_what_happens(both: tuple[Both, dict[str, str]]) -> None:
    stage, topics = both
    lines = ["| | MirrorMaker 2 | kmirror |", "|---|---|---|"]
    for row in ROWS:
        theirs, ours = row.look(stage, topics[row.what])
        lines.append(f"| {row.what} | {theirs} | {ours} |")
    table = "\n".join(lines) + "\n"
    text = PAGE.read_text("utf-8")
    before, rest = text.split(BEGIN)
    shown, after = rest.split(END)
    if os.environ.get("UPDATE_DOCS"):
        PAGE.write_text(before + BEGIN + table + END + after, "utf-8")
        return
    assert table.splitlines() == shown.splitlines(), "UPDATE_DOCS=1 writes the table anew, once the page still fits"
