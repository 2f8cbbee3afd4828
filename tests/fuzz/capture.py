"""`python -m fuzz.capture`: fills corpus/ with what real brokers answer, by mirrors of several kinds of log."""

import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from fuzz.recorder import FOLDER
from fuzz.targets import CORPUS
from kmirror.sandbox import Sandbox
from support.groups import GroupConsumer
from support.kmirror_cli import Kmirror
from support.mirrors import TestLink
from support.traffic import Record, create_topic, produce
from support.transactions import transaction

CODECS = ("none", "gzip", "snappy", "lz4", "zstd")


def fill(bootstrap: str) -> list[str]:
    topics = []
    for codec in CODECS:
        topics.append(f"of-{codec}")
        create_topic(bootstrap, topics[-1], 1)
        records = [Record(b"key %d" % i, b"value %d " % i * 9, (("h", b"x"), ("none", None))) for i in range(20)]
        produce(bootstrap, topics[-1], records, compression=codec)
    create_topic(bootstrap, "transactions", 2)
    for number in range(4):
        transaction(bootstrap, "transactions", [Record(b"k", b"v" * 20)] * 3, commit=number % 2 == 0)
    return [*topics, "transactions"]


def capture() -> None:
    CORPUS.mkdir(exist_ok=True)
    with Sandbox() as sandbox, tempfile.TemporaryDirectory() as home:
        east = sandbox.east.bootstrap_servers
        topics = fill(east)
        with GroupConsumer(sandbox.east, "readers", topics[0]) as reader:
            reader.read(5)
            reader.commit()
        kmirror = Kmirror(Path(home), {FOLDER: str(CORPUS)})
        servers = ("--source-bootstrap-server", east, "--destination-bootstrap-server", sandbox.west.bootstrap_servers)
        everyone = '{"groupFilters":[{"name":"*","patternType":"LITERAL","filterType":"INCLUDE"}]}'
        syncing = (
            f"consumer.offset.sync.enable=true,consumer.offset.sync.ms=1000,consumer.offset.group.filters={everyone}"
        )
        mirror(kmirror, TestLink(kmirror, sandbox.east, sandbox.west, "fuzz"), servers, syncing, topics)
        by_transactions = "gap.fill.mode=transactions,cluster.link.prefix=x."
        mirror(kmirror, TestLink(kmirror, sandbox.east, sandbox.west, "other"), servers, by_transactions, topics[-1:])
        recorded(kmirror, "doctor", "--link", "fuzz")


def mirror(kmirror: Kmirror, link: TestLink, servers: tuple[str, ...], configs: str, topics: list[str]) -> None:
    prefix = "x." if "prefix" in configs else ""
    recorded(kmirror, "link", "create", link.name, *servers, "--config", configs)
    for topic in topics:
        recorded(
            kmirror, "mirror", "create", prefix + topic, "--source-topic", topic, "--link", link.name, "--no-start"
        )
    runner = subprocess.Popen(line("link", "run", link.name), env=kmirror.environment)
    try:
        for topic in topics:
            link.await_caught_up(prefix + topic, topic)
        time.sleep(3)  # tasks have their turn
        recorded(kmirror, "mirror", "promote", prefix + topics[0], "--link", link.name)
    finally:
        runner.send_signal(signal.SIGTERM)
        runner.wait(20)


def line(*words: str) -> list[str]:
    return [sys.executable, "-m", "fuzz.recorder", *words]


def recorded(kmirror: Kmirror, *words: str) -> None:
    subprocess.run(line(*words), env=kmirror.environment, check=words[0] != "doctor")  # it tells of a stopped runner


if __name__ == "__main__":
    capture()
