"""Which worker has which partition, and one status of what all of them tell."""

from collections import Counter
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from kmirror.engine.counters import RunCounters
from kmirror.model.mirror import MirrorError
from kmirror.model.settings import UNLIMITED, settings_from
from kmirror.model.states import MirrorState
from kmirror.model.status import MirrorStatus, PartitionState, PartitionStatus
from kmirror.process.shares import Pace, io_limits, joined, owner_of, share_of

SERVERS = {"bootstrap.servers": "a:1", "destination.bootstrap.servers": "b:1"}
topics = st.text("abc.-_", min_size=1, max_size=20)


@given(topics, st.integers(0, 5000), st.integers(2, 64))
def test_each_partition_has_one_owner(topic: str, partition: int, workers: int) -> None:
    owners = [n for n in range(workers) if owner_of(topic, partition, workers) == n]
    assert len(owners) == 1


@given(topics, st.integers(1, 200), st.integers(2, 64))
def test_the_partitions_of_one_topic_go_round(topic: str, partitions: int, workers: int) -> None:
    shares = Counter(owner_of(topic, partition, workers) for partition in range(partitions))
    assert max(shares.values()) - min(shares[n] for n in range(workers)) <= 1


def test_topics_of_one_partition_are_spread() -> None:
    shares = Counter(owner_of(f"topic-{n}", 0, 4) for n in range(400))
    assert min(shares[n] for n in range(4)) > 60


@given(st.integers(1, 64), st.integers(1 << 20, 1 << 40))
def test_workers_together_hold_no_more_than_one(workers: int, buffer: int) -> None:
    share = share_of(replace(settings_from(SERVERS), fetch_buffer_bytes=buffer), workers)
    assert 0 < share.fetch_buffer_bytes * workers <= buffer
    assert share.io_max_bytes_per_s == UNLIMITED


paces = st.builds(Pace, st.floats(0, 1e9), st.booleans())


@given(st.integers(1000, 1 << 50), st.lists(paces, min_size=1, max_size=64))
def test_workers_together_fetch_no_more_than_the_limit(limit: int, paces: list[Pace]) -> None:
    """And none is held to less than a tenth of an equal part, so that it is seen when it wants more."""
    parts = io_limits(limit, paces)
    assert sum(parts) <= limit
    assert min(parts) >= int(limit / len(paces) / 10 - 1e-6 * limit)
    assert io_limits(UNLIMITED, paces) == [UNLIMITED] * len(paces)


def test_what_one_does_not_use_is_the_others() -> None:
    assert io_limits(1000, [Pace(), Pace()]) == [500, 500]
    assert io_limits(1000, [Pace(500, is_braked=True), Pace(500, is_braked=True)]) == [500, 500]
    assert io_limits(1000, [Pace(500, is_braked=True), Pace(100)]) == [850, 150]
    assert io_limits(1000, [Pace(500, is_braked=True), Pace(0)]) == [950, 50]
    assert io_limits(900, [Pace(300, is_braked=True), Pace(299), Pace(300, is_braked=True)]) == [300, 300, 300]


def part(number: int, state: PartitionState = PartitionState.COPYING) -> PartitionStatus:
    return PartitionStatus(number, state, 10, 12)


def told(*partitions: PartitionStatus, state: MirrorState = MirrorState.ACTIVE) -> MirrorStatus:
    return MirrorStatus("t", state, partitions)


def test_partitions_come_in_their_order_and_those_not_told_of_are_being_opened() -> None:
    both = joined(told(), 4, [told(part(1), part(3)), told(part(0))])
    assert [p.partition for p in both.partitions] == [0, 1, 2, 3]
    assert [p.state for p in both.partitions] == [
        *([PartitionState.COPYING] * 2),
        PartitionState.OPENING,
        PartitionState.COPYING,
    ]
    assert both.lag is None


def test_the_worst_that_a_worker_sees_is_what_is_shown() -> None:
    parts = [told(part(0)), told(part(1), state=MirrorState.SOURCE_UNAVAILABLE)]
    assert joined(told(), 2, parts).state is MirrorState.SOURCE_UNAVAILABLE
    parts.append(told(part(2), state=MirrorState.LINK_FAILED))
    assert joined(told(), 3, parts).state is MirrorState.LINK_FAILED


def test_what_is_recorded_goes_before_what_workers_saw_a_moment_ago() -> None:
    for state in (MirrorState.PAUSED, MirrorState.FAILED, MirrorState.PENDING_STOPPED, MirrorState.LINK_PAUSED):
        parts = [told(part(0), state=MirrorState.SOURCE_UNAVAILABLE)]
        assert joined(told(state=state), 1, parts).state is state


def test_a_failed_partition_shows_its_error() -> None:
    error = MirrorError("CORRUPT_BATCH", "damaged", 1, 5)
    failed = replace(part(1, PartitionState.FAILED), error=error)
    assert joined(told(state=MirrorState.FAILED), 2, [told(failed), told(part(0))]).partitions[1].error == error


counts = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9), st.sampled_from(["A", "B"])), max_size=6)


@given(st.lists(counts, min_size=1, max_size=3))
def test_counters_of_several_processes_add_up(workers: list[list[tuple[int, int, str]]]) -> None:
    """However often each tells of itself, everything is counted once."""
    total = RunCounters()
    for steps in workers:
        own, before = RunCounters(), None
        for records, retries, error in steps:
            own.mirror("t").records += records
            own.mirror("t").refusals[error] += 1
            own.cluster("source").opened += retries
            own.cluster("source").throttled_s += records / 2
            own.braked_s += retries
            now = RunCounters()
            now.add(own)  # a copy, as it comes over a socket
            total.add(now, before)
            before = now
    flat = [step for steps in workers for step in steps]
    assert total.mirror("t").records == sum(records for records, _, _ in flat)
    assert total.mirror("t").refusals == Counter(error for _, _, error in flat)
    assert total.cluster("source").opened == sum(retries for _, retries, _ in flat)
    assert total.cluster("source").throttled_s == sum(records for records, _, _ in flat) / 2
    assert total.braked_s == sum(retries for _, retries, _ in flat)
