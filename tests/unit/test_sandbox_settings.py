"""A sandbox cluster's ports, properties, identity and errors, without a broker."""

import socket
import struct
from pathlib import Path

import pytest

from kmirror.errors import SandboxError
from kmirror.sandbox import KafkaCluster, KafkaRuntime
from kmirror.sandbox.archive import make_archive
from kmirror.sandbox.broker import cause
from kmirror.sandbox.formatted import format_from, keep_beginning
from kmirror.sandbox.ids import new_id
from kmirror.sandbox.ports import HOST, HeldPorts
from kmirror.sandbox.probe import parse_brokers
from kmirror.sandbox.settings import Node, broker_properties, render_properties

NODES = [Node(0, 100, 200), Node(1, 101, 201), Node(2, 102, 202), Node(3, 103, 203)]
RUNTIME = KafkaRuntime("4.3.1", Path("/nowhere/java"), "/nowhere/*")


def test_properties_of_one_node() -> None:
    properties = broker_properties(NODES[0], NODES[:1], Path("/data"), {})
    assert properties["controller.quorum.voters"] == f"0@{HOST}:200"
    assert properties["listeners"] == f"PLAINTEXT://{HOST}:100,CONTROLLER://{HOST}:200"
    assert properties["offsets.topic.replication.factor"] == "1"
    assert properties["transaction.state.log.min.isr"] == "1"
    assert "default.replication.factor" not in properties


def test_internal_topics_have_at_most_three_replicas() -> None:
    properties = broker_properties(NODES[3], NODES, Path("/data"), {})
    assert properties["node.id"] == "3"
    assert properties["controller.quorum.voters"].count("@") == 4
    assert properties["offsets.topic.replication.factor"] == "3"
    assert properties["share.coordinator.state.topic.min.isr"] == "2"


def test_overrides_win_and_are_written_once() -> None:
    text = render_properties(broker_properties(NODES[0], NODES[:1], Path("/data"), {"node.id": "7", "x": "a\\b"}))
    assert text.count("node.id=") == 1
    assert "node.id=7\n" in text
    assert "x=a\\\\b\n" in text


def test_held_ports_are_distinct_and_taken_until_lent() -> None:
    held = HeldPorts()
    ports = held.choose(20)
    assert len(set(ports)) == 20
    assert not HeldPorts().hold(ports[0])
    with socket.socket() as broker:
        broker.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with pytest.raises(OSError, match="in use"):
            listen(broker, ports[0])
        held.lend()
        listen(broker, ports[0])
        assert not HeldPorts().hold(ports[0])
    held.release()


def test_lent_port_is_given_to_nobody_before_its_broker_listens_and_while_it_restarts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    held = HeldPorts()
    (port,) = held.choose(1)
    monkeypatch.setattr("kmirror.sandbox.ports._RANGE", range(port, port + 1))
    held.lend()
    for _start in range(2):
        with pytest.raises(SandboxError, match="no free port"):
            HeldPorts().choose(1)
        with socket.socket() as stranger, pytest.raises(OSError, match="in use"):
            stranger.bind((HOST, port))
        with socket.create_server((HOST, port)) as broker, socket.create_connection((HOST, port)):
            broker.accept()[0].close()  # the broker's end is the first: it leaves a TIME_WAIT
    assert held.hold(port) is True
    held.release()


def test_same_directory_has_its_ports_again_and_others_get_new_ones(tmp_path: Path) -> None:
    one = KafkaCluster("one", tmp_path, RUNTIME)
    one._remember()
    one.stop()
    port = int(one.bootstrap_servers.rpartition(":")[2])
    assert KafkaCluster("one", tmp_path, RUNTIME).bootstrap_servers == one.bootstrap_servers
    with socket.create_server((HOST, port)):
        assert KafkaCluster("one", tmp_path, RUNTIME).bootstrap_servers != one.bootstrap_servers


def listen(listener: socket.socket, port: int) -> None:
    listener.bind((HOST, port))
    listener.listen()


def test_address_is_known_and_held_before_the_start(tmp_path: Path) -> None:
    one = KafkaCluster("one", tmp_path / "one", RUNTIME, brokers=3)
    ports = [int(server.removeprefix(f"{HOST}:")) for server in one.bootstrap_servers.split(",")]
    assert len(set(ports)) == 3
    with pytest.raises(SandboxError, match=f"port {ports[1]} is in use"):
        KafkaCluster("two", tmp_path / "two", RUNTIME, ports=[ports[1]])
    one.stop()
    two = KafkaCluster("two", tmp_path / "two", RUNTIME, ports=[ports[1]])
    assert two.bootstrap_servers == f"{HOST}:{ports[1]}"
    two.stop()


def test_number_of_ports_is_that_of_brokers(tmp_path: Path) -> None:
    with pytest.raises(SandboxError, match="2 brokers but 1 ports"):
        KafkaCluster("one", tmp_path, RUNTIME, brokers=2, ports=[1234])


def test_java_that_is_not_there_is_told_with_the_log(tmp_path: Path) -> None:
    cluster = KafkaCluster("one", tmp_path, RUNTIME)
    with pytest.raises(SandboxError, match='broker 0 of cluster "one" could not be formatted') as caught:
        cluster.start()
    assert str(tmp_path / "node-0" / "broker.log") in (caught.value.hint or "")
    assert "\n" not in caught.value.message
    assert cluster.pids == []


def test_cluster_id_never_looks_like_an_option() -> None:
    ids = {new_id() for _ in range(300)}
    assert len(ids) == 300
    assert {(len(one), one[0]) for one in ids} == {(22, "k")}


def test_cause_prefers_errors_to_what_follows_them() -> None:
    log = "1 WARN fine\n2 ERROR java.net.BindException: Address already in use\n\tat a.b.C\n3 INFO bye\n"
    assert cause(log) == "2 ERROR java.net.BindException: Address already in use"
    assert cause("one\ntwo\n\n") == "one | two"
    assert cause("") == "it logged nothing"


def metadata(*nodes: tuple[int, bytes, bytes | None]) -> bytes:
    answer = struct.pack(">iii", 7, 0, len(nodes))
    for node, host, rack in nodes:
        answer += struct.pack(">ih", node, len(host)) + host + struct.pack(">i", 9092)
        answer += struct.pack(">h", -1) if rack is None else struct.pack(">h", len(rack)) + rack
    return answer + struct.pack(">hii", -1, 0, 0)


def test_brokers_of_a_metadata_answer() -> None:
    assert parse_brokers(metadata()) == frozenset()
    assert parse_brokers(metadata((0, b"a", None), (5, b"host.example", b"rack-1"), (2, b"", None))) == {0, 5, 2}


@pytest.mark.parametrize("bad", [b"", metadata((0, b"a", None))[:20], b"\0\0\0\x08" + metadata()[4:]])
def test_what_is_no_metadata_answer(bad: bytes) -> None:
    with pytest.raises(ValueError, match="answer"):
        parse_brokers(bad)


def test_a_folder_is_formatted_as_another_was(tmp_path: Path) -> None:
    """Nothing is done without an example; with one each broker is somebody of its own in the same cluster."""
    cache, data = tmp_path / "cache", [tmp_path / "node-0", tmp_path / "node-1"]
    assert not format_from(cache, data[0], "cluster", 0)
    assert not data[0].exists()
    made = tmp_path / "made"
    made.mkdir()
    (made / "bootstrap.checkpoint").write_bytes(b"the first records")
    keep_beginning(made, cache)
    for node, folder in enumerate(data):
        assert format_from(cache, folder, "cluster", node)
        assert (folder / "bootstrap.checkpoint").read_bytes() == b"the first records"
    metas = [dict(line.split("=") for line in (folder / "meta.properties").read_text().splitlines()) for folder in data]
    directories = {meta.pop("directory.id") for meta in metas}
    assert len(directories) == 2
    assert metas == [{"version": "1", "cluster.id": "cluster", "node.id": str(node)} for node in range(2)]


def test_an_archive_is_of_one_java_and_whole(tmp_path: Path) -> None:
    """Another Java, or the same one of another day, does not find it, and nobody one that was cut off."""
    javas = [tmp_path / "java-17", tmp_path / "java-25"]
    for number, java in enumerate(javas):
        java.write_text("x" * number)
    one, other = (KafkaRuntime("4.3.1", java, "/nowhere/*", tmp_path) for java in javas)
    assert one.archive is RUNTIME.archive is None
    archive = tmp_path / f"{one.archive_stem}-5.jsa"
    archive.write_text("12345")
    assert one.archive == archive
    assert other.archive is None
    archive.write_text("123")
    assert one.archive is None
    archive.write_text("12345")
    javas[0].write_text("a newer one")
    assert one.archive is None


def test_an_archive_that_can_not_be_made_is_no_error(tmp_path: Path) -> None:
    java = tmp_path / "java"
    java.write_text("#!/bin/sh\nexit 1\n")
    java.chmod(0o755)
    runtime = KafkaRuntime("4.3.1", java, "/nowhere/*", tmp_path / "cache")
    assert not make_archive(runtime)
    assert {path.name for path in (tmp_path / "cache").iterdir()} == {".archiving"}
