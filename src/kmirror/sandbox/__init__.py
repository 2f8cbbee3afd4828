"""Real Apache Kafka clusters on this machine, with nothing but pip: for the demo and the tests."""

from kmirror.sandbox.cluster import KafkaCluster
from kmirror.sandbox.pair import Sandbox
from kmirror.sandbox.runtime import DEFAULT_VERSION, VERSIONS, KafkaRuntime, kafka_runtime

__all__ = ["DEFAULT_VERSION", "VERSIONS", "KafkaCluster", "KafkaRuntime", "Sandbox", "kafka_runtime"]
