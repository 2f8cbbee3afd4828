"""Clusters of three brokers, each in a rack of its own, and what an operator does with them."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from kafka.protocol.admin import (
    AlterPartitionReassignmentsRequest,
    AlterPartitionReassignmentsResponse,
    DescribeQuorumRequest,
    DescribeQuorumResponse,
    ElectLeadersRequest,
    ElectLeadersResponse,
)

from kmirror.sandbox import KafkaCluster
from support.mirrors import in_sync, leaders
from support.raw import call
from support.wait import eventually

SELECTOR = "org.apache.kafka.common.replica.RackAwareReplicaSelector"


class Trio(KafkaCluster):
    """Broker `i` stands in `rack-<i>`; consumers may read from the replica in their rack."""

    def _properties_of(self, node: int) -> Mapping[str, str]:
        return {**self._properties, "broker.rack": f"rack-{node}", "replica.selector.class": SELECTOR}

    def move_address(self, broker: int) -> None:
        """Stops a broker and starts it on another port: the bootstrap addresses know only its old one."""
        self.stop_broker(broker)
        (port,) = self._held.choose(1)
        moved = self._brokers[broker]
        moved.node = dataclasses.replace(moved.node, port=port)
        self.prepare()
        self._held.lend()
        self.start_broker(broker)

    def controller(self) -> int:
        """The active one."""
        topics = DescribeQuorumRequest.TopicData
        request = DescribeQuorumRequest(
            topics=[topics(topic_name="__cluster_metadata", partitions=[topics.PartitionData(partition_index=0)])]
        )
        answer = self._ask(request, DescribeQuorumResponse, 0)
        return int(answer.topics[0].partitions[0].leader_id)

    def reassign(self, topic: str, replicas: Mapping[int, list[int]]) -> None:
        """Returns when each partition's replicas are these, in sync."""
        topics = AlterPartitionReassignmentsRequest.ReassignableTopic
        parts = [topics.ReassignablePartition(partition_index=p, replicas=r) for p, r in replicas.items()]
        request = AlterPartitionReassignmentsRequest(timeout_ms=10_000, topics=[topics(name=topic, partitions=parts)])

        def taken() -> bool:
            answer = self._ask(request, AlterPartitionReassignmentsResponse, 0)
            answers = [answer, *(partition for found in answer.responses for partition in found.partitions)]
            assert not any(each.error_code for each in answers), answers
            return True

        eventually(taken, 60, "a controller takes the reassignment", 0.5)
        wanted = {p: len(r) for p, r in replicas.items()}
        eventually(lambda: in_sync(self, topic).items() >= wanted.items(), 60, "the new replicas are in sync", 0.2)

    def lead(self, topic: str, first: Mapping[int, int]) -> None:
        """Has broker `first[p]` lead partition p."""
        self.reassign(topic, {p: [b, *({0, 1, 2} - {b})] for p, b in first.items()})
        topics = ElectLeadersRequest.TopicPartitions
        request = ElectLeadersRequest(
            election_type=0, topic_partitions=[topics(topic=topic, partitions=list(first))], timeout_ms=10_000
        )

        def moved() -> bool:
            if leaders(self, topic).items() >= first.items():
                return True
            self._ask(request, ElectLeadersResponse, 2)
            return False

        eventually(moved, 60, "the leaders have moved", 0.2)

    def all_in_sync(self, topic: str, replicas: int = 3) -> None:
        eventually(lambda: set(in_sync(self, topic).values()) == {replicas}, 120, "all replicas are in sync", 0.2)

    def _ask(self, request: Any, response: Any, version: int) -> Any:
        """Again where a broker does not answer: the controller that it passes this on to may be gone just now."""
        broker = next(b for b in self._brokers if b.pid is not None)
        return eventually(
            lambda: call(f"127.0.0.1:{broker.node.port}", request, response, version), 60, f"{request} is answered"
        )
