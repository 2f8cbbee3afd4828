"""Many partitions are opened with few requests, and one of them that can't be never keeps its neighbours waiting."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import pytest
from confluent_kafka.admin import AclBinding, AclOperation, AclPermissionType, ResourcePatternType, ResourceType

from kmirror.sandbox import KafkaCluster
from kmirror.sandbox.secured import SecuredCluster
from support.acls import bindings, granted
from support.kmirror_cli import Kmirror
from support.mirrors import TestLink
from support.proxy import ProxiedCluster
from support.secured import SecuredLink, properties
from support.traffic import create_topic, produce, sized

PARTITIONS: Final = 300
OPENING: Final = {
    1: "Fetch",
    2: "ListOffsets",
    10: "FindCoordinator",
    61: "DescribeProducers",
    65: "DescribeTransactions",
}
"""What an opening asks of the destination."""
FEW: Final = PARTITIONS // 5
"""Verbs, leases and metadata ask some, too; one by one there would be at least one each for a partition."""


def test_hundreds_are_opened_with_few_requests(
    kmirror: Kmirror, east: KafkaCluster, proxied: ProxiedCluster, topic_name: str
) -> None:
    """When there is nothing at the destination, and when each has a tail that is compared with the source's."""
    link = TestLink(kmirror, east, proxied).create()
    create_topic(east.bootstrap_servers, topic_name, PARTITIONS)
    produce(east.bootstrap_servers, topic_name, sized(10 * PARTITIONS, partitions=PARTITIONS))
    link.mirror(topic_name)
    link.stop()
    for seed in (1, 2):
        proxied.proxy.requests.clear()
        link.start()
        produce(east.bootstrap_servers, topic_name, sized(PARTITIONS, partitions=PARTITIONS, seed=seed))
        assert link.assert_exact(topic_name, at_least=(10 + seed) * PARTITIONS)
        asked = {name: proxied.proxy.requests[api] for api, name in OPENING.items()}
        assert asked["DescribeProducers"] >= 2
        assert all(count <= FEW for count in asked.values()), asked
        link.stop()
    assert asked["Fetch"] >= 1, "the tails were looked at"


@pytest.fixture
def guarded(
    kmirror: Kmirror, guarded_east: SecuredCluster, guarded_west: SecuredCluster, tmp_path: Path
) -> Iterator[SecuredLink]:
    """A link whose user may do everything."""
    sides = [properties(cluster, tmp_path / "secrets") for cluster in (guarded_east, guarded_west)]
    line = "kafka-acls.sh --add --allow-principal User:mirror --operation All"
    with ExitStack() as stack:
        for cluster in (guarded_east, guarded_west):
            for what in ("--topic '*'", "--transactional-id '*'", "--cluster"):
                stack.enter_context(granted(cluster, bindings(f"{line} {what}").values()))
        yield SecuredLink(kmirror, guarded_east, guarded_west, "guarded").create_by(tmp_path, *sides)


def test_one_that_is_refused_keeps_no_other_waiting(guarded: SecuredLink, topic_name: str) -> None:
    """The leader answers for all of them at once, and for those of one topic with an error."""
    link, east = guarded, guarded.source.bootstrap_servers
    refused, other = f"{topic_name}-refused", f"{topic_name}-other"
    for topic in (refused, other):
        create_topic(east, topic, 20)
        produce(east, topic, sized(200, partitions=20))
        link.mirror(topic)
        link.await_caught_up(topic)
    link.stop()
    acl = AclBinding(
        *(ResourceType.TOPIC, refused, ResourcePatternType.LITERAL),
        *("User:mirror", "*", AclOperation.READ, AclPermissionType.DENY),
    )
    with granted(link.destination, [acl]):
        link.start()
        for topic in (refused, other):
            produce(east, topic, sized(200, partitions=20, seed=2))
        assert link.assert_exact(other, at_least=400) == 400
        link.await_shown(refused, lambda rows: "--operation Read" in str(rows), "says what is missing")
        assert sum(link.mirror_ends(refused).values()) == 200
    assert link.assert_exact(refused, at_least=400) == 400
