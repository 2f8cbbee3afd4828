"""The pages below docs/ are true: each shell block runs word for word, in order, and says what is shown below it.

All pages share two clusters. What a page supposes to be there, topics with records and clusters by name, is set up
here.
"""

import re
import shlex
from collections.abc import Iterator

import pytest

from kmirror.admin.cluster import ClusterAdmin
from kmirror.admin.groups import GroupAdmin
from kmirror.model.access import Access
from kmirror.sandbox import KafkaCluster
from support.groups import GroupConsumer, Seen, delete_group
from support.mirror_maker import MirrorMaker
from support.mirrors import admin
from support.pages import RUN, blocks, commands, pages_to_run
from support.traffic import Record, create_topic, produce
from support.typed import Terminal, words
from support.wait import eventually

MOVING = "from-mirrormaker.md"
PAGES = pages_to_run()
SOURCES = {"east", "berlin", "paris"}
DESTINATIONS = {"west", "hub"}
"""Names of clusters in the pages, and which of the two stands for each."""

TOPICS = ("orders", "payments")
"""Topics of the source cluster that each page supposes."""

BOTH_WAYS = frozenset({"active-active.md"})
"""Pages that suppose the same topics at the destination too."""

PARTITIONS = 4
RECORDS = 400
DEFAULT_MIRROR_MAKER = {
    "replication.policy.class": "org.apache.kafka.connect.mirror.DefaultReplicationPolicy",
    "groups": "billing",
    "sync.group.offsets.enabled": "true",
    "sync.group.offsets.interval.seconds": "1",
    "emit.checkpoints.interval.seconds": "1",
}
"""As it comes, but in a hurry."""

LOOKS = re.compile(r"kmirror (status|doctor|(link|mirror) (list|describe|groups|verify|task list))\b")
"""Commands that change nothing: they may be asked again until they say what is shown."""


@pytest.fixture
def clean(east: KafkaCluster, west: KafkaCluster) -> Iterator[None]:
    """What a page leaves on the clusters is not there for the next."""
    clients = [admin(cluster) for cluster in (east, west)]
    before = [set(client.list_topics(timeout=20).topics) for client in clients]
    yield
    for client, there in zip(clients, before, strict=True):
        new = [name for name in client.list_topics(timeout=20).topics if name not in there and name[:2] != "__"]
        for done in client.delete_topics(new, operation_timeout=20).values() if new else ():
            done.result(20)


@pytest.fixture
def terminal(clean: None, kmirror) -> Iterator[Terminal]:
    terminal = Terminal(kmirror)
    yield terminal
    terminal.end()


@pytest.fixture
def in_own_folder(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("page", sorted(PAGES.keys() - {MOVING}))
@pytest.mark.usefixtures("in_own_folder")
def test_each_block_runs_and_says_what_is_shown(page, terminal, east, west):
    for cluster in (east, west) if page in BOTH_WAYS else (east,):
        for topic in TOPICS:
            fill(cluster, topic)
    for block in blocks(PAGES[page]):
        for command, shown in commands(block) if block.language in RUN else ():
            run(terminal, with_addresses(command, east, west), shown)


@pytest.mark.usefixtures("in_own_folder")
def test_a_group_moves_from_mirrormaker_2_word_for_word(terminal, kmirror, east, west, tmp_path):
    """MirrorMaker 2 runs and has translated the group's offsets; the steps of the page move the group over, exactly."""
    topic, group, seen = "orders", "billing", Seen()
    fill(east, topic)
    steps = [block for block in blocks(PAGES[MOVING]) if block.language in RUN]
    create, look, promote = (commands(block) for block in steps)
    with (
        GroupConsumer(east, group, topic) as consumer,
        MirrorMaker(tmp_path / "mm2", east, west, topic, DEFAULT_MIRROR_MAKER) as maker,
    ):
        seen.add(consumer.read(150))
        consumer.commit()
        groups = GroupAdmin(ClusterAdmin(Access(west.bootstrap_servers), "destination"))
        copy = maker.copy_of(topic)
        eventually(lambda: copy in {name for name, _ in groups.committed([group]).found[group]}, 180, maker.log, 0.5)
        for command, shown in [*create, *look]:
            run(terminal, with_addresses(command, east, west), shown)
        seen.add(consumer.read(100))
        consumer.commit()
    for command, shown in promote:
        run(terminal, command, shown)
    with GroupConsumer(west, group, topic) as consumer:
        seen.add(consumer.read_rest())
    assert (seen.lost(b"record %d" % n for n in range(RECORDS)), seen.again) == ([], 0)
    for cluster in (east, west):
        delete_group(cluster, group)


def fill(cluster: KafkaCluster, topic: str) -> None:
    create_topic(cluster.bootstrap_servers, topic, PARTITIONS)
    records = (Record(b"key-%d" % (n % 50), b"record %d" % n, partition=n % PARTITIONS) for n in range(RECORDS))
    produce(cluster.bootstrap_servers, topic, records)


def with_addresses(command: str, east: KafkaCluster, west: KafkaCluster) -> str:
    for names, cluster in ((SOURCES, east), (DESTINATIONS, west)):
        for name in names:
            command = re.sub(rf"\b{name}:9092\b", cluster.bootstrap_servers, command)
    return command.replace("--metrics-addr 9404", "--metrics-addr 0")  # any free port: the machine may be busy


def run(terminal: Terminal, command: str, shown: str) -> None:
    """Several lines or a pipe are the shell's; other commands are started as they are, so that Ctrl-C reaches them."""
    line = ["sh", "-eu", "-c", command] if re.search(r"[|<>&;$\n]", command) else shlex.split(command)
    ends_by = "COPYING" if "describe" in line else "ACTIVE"
    told: list[tuple[int, str]] = []

    def done() -> bool:
        told.append(terminal.run(line, interrupt_after=ends_by if "--watch" in line else None))
        code, said = told[-1]
        return code == 0 and words(shown) <= words(said)

    def report() -> str:
        code, said = told[-1]
        return f"{command}\nexit code {code}, not said: {words(shown) - words(said)}\n{said}"

    if LOOKS.match(command):
        eventually(done, 30, report, 0.5)
    else:
        assert done(), report()
