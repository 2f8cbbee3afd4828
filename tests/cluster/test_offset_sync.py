"""Consumer groups move over: committed offsets at the destination, before and after promote and failover."""

import uuid

import pytest

from kmirror.admin.cluster import ClusterAdmin
from kmirror.admin.groups import GroupAdmin
from kmirror.model.group_offsets import IN_USE, Committed, LogBounds
from kmirror.sandbox import KafkaCluster
from support.groups import GroupConsumer
from support.traffic import Record, create_topic, produce


def fill(cluster: KafkaCluster, topic: str, numbers: range, partitions: int = 2) -> None:
    records = (Record(b"key", b"%d" % n, partition=n % partitions) for n in numbers)
    produce(cluster.bootstrap_servers, topic, records)


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_groups_as_a_cluster_tells_of_them(west: KafkaCluster, topic_name: str, protocol: str) -> None:
    create_topic(west.bootstrap_servers, topic_name, 2)
    fill(west, topic_name, range(20))
    admin = GroupAdmin(ClusterAdmin(west.bootstrap_servers, "destination"))
    group = f"group-{uuid.uuid4().hex[:8]}"
    place = (topic_name, 0)
    assert admin.commit({group: {place: Committed(3, "note")}}).found == {group: None}
    assert admin.groups()[group] is False
    with GroupConsumer(west, group, topic_name, protocol=protocol) as consumer:
        consumer.read(5)
        consumer.commit()
        assert admin.groups()[group] is True
        told = admin.commit({group: {place: Committed(1)}}).refused[group]
        assert getattr(told, "code", None) == IN_USE
    assert admin.groups()[group] is False
    assert sum(found.offset for found in admin.committed([group]).found[group].values()) >= 5
    assert admin.commit({group: {place: Committed(1)}}).refused == {}
    assert admin.committed([group, "nobody"]).found["nobody"] == {}
    bounds = admin.log_bounds([place, (topic_name, 1), (topic_name, 7), ("no-topic", 0)])
    assert set(bounds) == {place, (topic_name, 1)}
    assert sum(b.end for b in bounds.values()) == 20
    assert bounds[place] == LogBounds(0, bounds[place].end)
