"""The files a broker reads: its properties, and the log settings of both logging systems Kafka has used."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from kmirror.sandbox.ports import HOST


@dataclass(frozen=True, slots=True)
class Node:
    """One combined broker and controller."""

    id: int
    port: int
    controller_port: int


def broker_properties(node: Node, nodes: list[Node], data: Path, overrides: Mapping[str, str]) -> dict[str, str]:
    """server.properties of `node` in the cluster of `nodes`; `overrides` win."""
    replicas = str(min(3, len(nodes)))
    in_sync = str(max(1, min(2, len(nodes) - 1)))
    return {
        "process.roles": "broker,controller",
        "node.id": str(node.id),
        "controller.quorum.voters": ",".join(f"{n.id}@{HOST}:{n.controller_port}" for n in nodes),
        "listeners": f"PLAINTEXT://{HOST}:{node.port},CONTROLLER://{HOST}:{node.controller_port}",
        "advertised.listeners": f"PLAINTEXT://{HOST}:{node.port}",
        "controller.listener.names": "CONTROLLER",
        "inter.broker.listener.name": "PLAINTEXT",
        "log.dirs": str(data),
        "offsets.topic.replication.factor": replicas,
        "offsets.topic.num.partitions": "4",
        "transaction.state.log.replication.factor": replicas,
        "transaction.state.log.min.isr": in_sync,
        "transaction.state.log.num.partitions": "4",
        "share.coordinator.state.topic.replication.factor": replicas,
        "share.coordinator.state.topic.min.isr": in_sync,
        # A short life in small steps: groups form at once, cleaning and retention act within seconds.
        "group.initial.rebalance.delay.ms": "0",
        "log.cleaner.backoff.ms": "1000",
        "log.retention.check.interval.ms": "2000",
        # Enough for half a million keys a round; the default of 128 MB is taken, and cleared, at each start.
        "log.cleaner.dedupe.buffer.size": "16777216",
        # An idle broker costs a third less than with the two records a second that its controller writes by default.
        "metadata.max.idle.interval.ms": "5000",
        # A killed broker may come back only when its old session has ended: 9 s by default.
        "broker.session.timeout.ms": "4000",
        "broker.heartbeat.interval.ms": "500",
        **overrides,
    }


def render_properties(properties: Mapping[str, str]) -> str:
    """As a Java properties file, where a backslash begins an escape."""
    return "".join(f"{key}={value.replace(chr(92), chr(92) * 2)}\n" for key, value in properties.items())


LOG4J2 = """\
rootLogger.level=WARN
rootLogger.appenderRef.a.ref=A
appender.a.type=Console
appender.a.name=A
appender.a.layout.type=PatternLayout
appender.a.layout.pattern=%d %p %m (%c)%n
"""
LOG4J = """\
log4j.rootLogger=WARN, A
log4j.appender.A=org.apache.log4j.ConsoleAppender
log4j.appender.A.layout=org.apache.log4j.PatternLayout
log4j.appender.A.layout.ConversionPattern=%d %p %m (%c)%n
"""
