"""A link that is held back, by its own limit or by quotas of the clusters: it keeps to them, says so, stays exact."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from kafka.protocol.admin import AlterClientQuotasRequest, AlterClientQuotasResponse

from kmirror.sandbox import KafkaCluster
from support.kmirror_cli import Kmirror
from support.mirrors import TestLink
from support.raw import call
from support.traffic import create_topic, produce, sized
from support.wait import eventually

RECORD = 1_000
ON_THE_WIRE = RECORD + 40  # about: key, header of every seventh, framing
WINDOW_S = 3.0


@pytest.fixture
def link(kmirror: Kmirror, east: KafkaCluster, west: KafkaCluster) -> TestLink:
    return TestLink(kmirror, east, west)


def fill(cluster: KafkaCluster, topic: str, megabytes: int, partitions: int = 3) -> None:
    create_topic(cluster.bootstrap_servers, topic, partitions)
    records = sized(megabytes * 1_000, low=RECORD, high=RECORD, partitions=partitions)
    produce(cluster.bootstrap_servers, topic, records, batch_bytes=100_000)


def rate_of(link: TestLink, topic: str) -> float:
    """Bytes a second that reach the mirror, over a few seconds."""
    began, before = time.monotonic(), sum(link.mirror_ends(topic).values())
    time.sleep(WINDOW_S)  # a rate is told over a time
    after = sum(link.mirror_ends(topic).values())
    return (after - before) * ON_THE_WIRE / (time.monotonic() - began)


def await_rate(link: TestLink, topic: str, wanted: float) -> None:
    """Within 10 %. A machine that is busy may make one reading too low, and none too high."""
    seen: list[float] = []

    def right() -> bool:
        seen.append(rate_of(link, topic))
        assert seen[-1] < 1.15 * wanted or len(seen) == 1, f"{seen} is over {wanted}"
        return abs(seen[-1] - wanted) < 0.1 * wanted

    eventually(right, 5 * WINDOW_S, lambda: f"{seen} is not {wanted}\n{link.log()}")


def test_a_limit_is_kept_and_changed_while_the_link_runs(link: TestLink, topic_name: str) -> None:
    """4 MB/s over three partitions, then 8, then none: the runner stays the same, and so does its engine."""
    fill(link.source, topic_name, 120)
    key = "cluster.link.io.max.bytes.per.second"
    link.create(f"{key}=4000000")
    link.mirror(topic_name)
    link.await_beyond(topic_name, dict.fromkeys(range(3), 0))
    pid = link.pid
    await_rate(link, topic_name, 4_000_000)
    told = link.kmirror.json("link", "describe", link.name)
    assert told["throttled"]["io_limit"] > 0.2, told
    assert f"by {key} (" in link.kmirror.run("link", "describe", link.name).stdout
    assert f"Throttled by {key} (" in link.kmirror.run("status").stdout
    assert f"The link is throttled by {key} (" in link.kmirror.run(*describe(link, topic_name)).stdout

    link.kmirror.run("link", "configuration", "update", link.name, "--config", f"{key}=8000000")
    await_rate(link, topic_name, 8_000_000)
    link.kmirror.run("link", "configuration", "delete-key", link.name, key)
    link.await_caught_up(topic_name, timeout=20)
    eventually(lambda: "throttled" not in link.kmirror.json("link", "describe", link.name), 20, "nothing holds it back")
    assert link.pid == pid
    assert link.log().count("link is held") <= 1
    link.compare(topic_name, at_least=120_000)


def describe(link: TestLink, topic: str) -> tuple[str, ...]:
    return ("mirror", "describe", topic, "--link", link.name)


@contextmanager
def quota(cluster: KafkaCluster, entity: dict[str, str | None], **values: float) -> Iterator[None]:
    """For as long: of a client id or user; None is the default of all."""

    def alter(ops: list[Any]) -> None:
        kind = AlterClientQuotasRequest.EntryData
        entry = kind(entity=[kind.EntityData(entity_type=t, entity_name=n) for t, n in entity.items()], ops=ops)
        request = AlterClientQuotasRequest(entries=[entry], validate_only=False)
        answer = call(cluster.bootstrap_servers, request, AlterClientQuotasResponse, 1)
        assert not answer.entries[0].error_code, answer

    op = AlterClientQuotasRequest.EntryData.OpData
    alter([op(key=key, value=value, remove=False) for key, value in values.items()])
    try:
        yield
    finally:
        alter([op(key=key, value=0.0, remove=True) for key in values])


QUOTAS: dict[str, tuple[str, dict[str, str | None], str, str]] = {
    "source, by client id": ("source", {"client-id": "kmirror"}, "consumer_byte_rate", "the source's quota"),
    "destination, default of users": ("destination", {"user": None}, "producer_byte_rate", "the destination's quota"),
    "destination, default of client ids": (
        "destination",
        {"client-id": None},
        "producer_byte_rate",
        "the destination's quota",
    ),
}


@pytest.mark.parametrize("name", QUOTAS)
def test_a_quota_is_kept_and_told(link: TestLink, topic_name: str, name: str) -> None:
    """2 MB/s: the copy goes on at about that, without an error, is shown to be throttled, and is exact."""
    side, entity, key, words = QUOTAS[name]
    fill(link.source, topic_name, 30)
    link.create()
    cluster: KafkaCluster = getattr(link, side)
    with quota(cluster, entity, **{key: 2_000_000.0}):
        link.mirror(topic_name)
        link.await_beyond(topic_name, dict.fromkeys(range(3), 0))
        told = eventually(lambda: link.kmirror.json("link", "describe", link.name).get("throttled"), 30, "is throttled")
        assert told.keys() == {f"{side}_quota"}, told
        assert f"throttled by {words} (" in link.kmirror.run(*describe(link, topic_name)).stdout
        assert rate_of(link, topic_name) < 4_000_000
        rows = link.describe(topic_name)
        assert {row["mirror_status"] for row in rows} == {"ACTIVE"}
        assert not any(row["partition_error_message"] for row in rows), rows
    assert "connection lost" not in link.log()
    assert "refused" not in link.log()
    link.assert_exact(topic_name, at_least=30_000)


def test_who_looks_under_a_quota_waits_for_it(link: TestLink, topic_name: str) -> None:
    """What is over it is answered with nothing: a partition is opened, and a mirror verified, all the same."""
    fill(link.source, topic_name, 8)
    link.create().mirror(topic_name)
    link.await_caught_up(topic_name)
    with quota(link.source, {"client-id": "kmirror"}, consumer_byte_rate=1_000_000.0):
        link.kmirror.run("mirror", "verify", topic_name, "--link", link.name)
        link.stop()
        link.start()
        link.await_caught_up(topic_name)
