"""The sandbox with real brokers: they start, keep what they were given, take blows, and go."""

import os
import signal
import socket
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from kmirror.errors import SandboxError
from kmirror.sandbox import KafkaCluster, Sandbox, kafka_runtime
from kmirror.sandbox.archive import make_archive
from support.processes import alive
from support.wait import eventually


@pytest.fixture(params=["4.3.1", "3.9.2"])
def cluster(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[KafkaCluster]:
    with KafkaCluster("one", tmp_path / "one", kafka_runtime(request.param)) as one:
        yield one
    assert one.pids == []


def create(cluster: KafkaCluster, topic: str, replicas: int = 1) -> None:
    admin = AdminClient({"bootstrap.servers": cluster.bootstrap_servers})
    admin.create_topics([NewTopic(topic, 1, replicas)])[topic].result(30)


def produce(cluster: KafkaCluster, topic: str, values: list[bytes]) -> None:
    producer = Producer({"bootstrap.servers": cluster.bootstrap_servers, "acks": "all"})
    for value in values:
        producer.produce(topic, value)
    assert producer.flush(60) == 0


def consume(cluster: KafkaCluster, topic: str, count: int) -> list[bytes | None]:
    consumer = Consumer({"bootstrap.servers": cluster.bootstrap_servers, "group.id": uuid.uuid4().hex})
    consumer.assign([TopicPartition(topic, 0, 0)])
    found: list[bytes | None] = []

    def enough() -> bool:
        found.extend(message.value() for message in consumer.consume(count - len(found), 1) if not message.error())
        return len(found) >= count

    try:
        eventually(enough, 60)
    finally:
        consumer.close()
    return found


def test_data_outlives_kill_stop_and_suspension(cluster: KafkaCluster) -> None:
    servers = cluster.bootstrap_servers
    create(cluster, "orders")
    produce(cluster, "orders", [b"before"])
    cluster.kill()
    assert cluster.pids == []
    cluster.start_broker()
    produce(cluster, "orders", [b"after the kill"])
    cluster.stop()
    cluster.stop()
    cluster.start()
    (pid,) = cluster.pids
    cluster.suspend()
    eventually(lambda: state_of(pid) == "T")
    cluster.resume()
    produce(cluster, "orders", [b"after the suspension"])
    assert consume(cluster, "orders", 3) == [b"before", b"after the kill", b"after the suspension"]
    assert cluster.bootstrap_servers == servers


def state_of(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def test_same_directory_is_the_same_cluster(tmp_path: Path) -> None:
    """And its broker starts with the archive of its classes, once there is one."""
    runtime = kafka_runtime()
    assert make_archive(runtime)
    archive = eventually(lambda: runtime.archive, 120, "another process has made it")
    with KafkaCluster("one", tmp_path, kafka_runtime()) as first:
        if sys.platform == "linux":
            assert archive.name in Path(f"/proc/{first.pids[0]}/maps").read_text()
        create(first, "orders")
        produce(first, "orders", [b"kept"])
        pids = first.pids
    assert not any(map(alive, pids))
    with KafkaCluster("one", tmp_path, kafka_runtime()) as second:
        assert second.bootstrap_servers == first.bootstrap_servers
        assert consume(second, "orders", 1) == [b"kept"]


def test_three_brokers_with_a_replicated_topic(tmp_path: Path) -> None:
    with KafkaCluster("trio", tmp_path, kafka_runtime(), brokers=3) as cluster:
        pids = cluster.pids
        assert len(set(pids)) == 3
        create(cluster, "orders", replicas=3)
        produce(cluster, "orders", [b"one"])
        cluster.kill(0)
        produce(cluster, "orders", [b"two"])
        cluster.start_broker(0)
        cluster.stop_broker(1)
        produce(cluster, "orders", [b"three"])
        assert consume(cluster, "orders", 3) == [b"one", b"two", b"three"]
        admin = AdminClient({"bootstrap.servers": cluster.bootstrap_servers})
        described = admin.list_topics("__consumer_offsets", 10).topics["__consumer_offsets"]
        assert {len(partition.replicas) for partition in described.partitions.values()} == {3}
        pids += cluster.pids
    assert not any(map(alive, pids))


def test_properties_reach_the_broker_and_a_bad_one_is_told(tmp_path: Path) -> None:
    bad = KafkaCluster("bad", tmp_path, kafka_runtime(), properties={"log.retention.ms": "soon"})
    with pytest.raises(SandboxError, match=r"log\.retention\.ms") as caught:
        bad.start()
    assert "broker.log" in (caught.value.hint or "")
    assert bad.pids == []


def test_port_that_is_taken_for_a_moment_is_waited_for(tmp_path: Path) -> None:
    cluster = KafkaCluster("one", tmp_path, kafka_runtime())
    port = int(cluster.bootstrap_servers.rpartition(":")[2])
    cluster.prepare()
    cluster.stop()  # gives the ports free
    log = tmp_path / "node-0" / "broker.log"
    with socket.create_server(("127.0.0.1", port)):
        cluster.prepare()
        cluster.launch()
        eventually(lambda: "Address already in use" in log.read_text(), 60)
    try:
        cluster.wait_ready(60)
        create(cluster, "orders")
    finally:
        cluster.stop()


def test_sandbox_is_two_clusters_and_leaves_nothing() -> None:
    with Sandbox(source_version="3.9.2") as sandbox:
        pids = sandbox.east.pids + sandbox.west.pids
        directory = sandbox.directory
        assert len(set(pids)) == 2
        create(sandbox.east, "orders")
        produce(sandbox.east, "orders", [b"east"])
        west = AdminClient({"bootstrap.servers": sandbox.west.bootstrap_servers})
        assert "orders" not in west.list_topics(timeout=10).topics
        assert (sandbox.east.runtime.version, sandbox.west.runtime.version) == ("3.9.2", "4.3.1")
        sandbox.west.suspend()  # must end all the same
    assert not any(map(alive, pids))
    assert not directory.exists()


SCRIPT = """
import signal, sys
from pathlib import Path
from kmirror.sandbox import KafkaCluster, kafka_runtime
signal.signal(signal.SIGINT, signal.default_int_handler)
with KafkaCluster("child", Path(sys.argv[1]), kafka_runtime()) as cluster:
    if sys.argv[2] == "suspended":
        cluster.suspend()
    print(*cluster.pids, flush=True)
    signal.pause()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ties a child to its parent")
@pytest.mark.parametrize(
    ("how", "number"), [("running", signal.SIGINT), ("running", signal.SIGKILL), ("suspended", signal.SIGKILL)]
)
def test_brokers_go_with_the_process_that_started_them(tmp_path: Path, how: str, number: int) -> None:
    with subprocess.Popen([sys.executable, "-c", SCRIPT, str(tmp_path), how], stdout=subprocess.PIPE) as owner:
        assert owner.stdout is not None
        pids = [int(pid) for pid in owner.stdout.readline().split()]
        assert len(pids) == 1
        assert os.getsid(pids[0]) == pids[0], "Ctrl-C in the terminal must not reach the broker"
        owner.send_signal(number)
        owner.wait(30)
        eventually(lambda: not any(map(alive, pids)), 10)
