"""What is on its way at a time: never more than the memory allows, more from far, less over a narrow way."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from kmirror.engine.window import (
    FAR_S,
    LEAST_REQUESTS,
    MOST_LANES,
    MOST_REQUESTS,
    REQUEST_BYTES,
    far_request_bytes,
    fetch_window,
    has_enough,
)
from kmirror.model.settings import settings_from

MIB = 1 << 20
SETTINGS = settings_from({})


@given(brokers=st.integers(1, 32), partitions=st.integers(0, 1000), far=st.booleans(), memory=st.integers(1, 1024))
def test_half_of_the_memory_waits_for_answers(*, brokers: int, partitions: int, far: bool, memory: int) -> None:
    """But for what one fetch of each broker needs at least: one partition's share."""
    settings = replace(SETTINGS, fetch_buffer_bytes=memory * MIB)
    trip = FAR_S if far else FAR_S / 2
    window = fetch_window(settings, brokers=brokers, partitions=partitions, round_trip_s=trip)
    assert 1 <= window.lanes <= max(1, min(MOST_LANES, partitions))
    asked = window.lanes * window.response_bytes * brokers
    assert asked <= max(memory * MIB // 2, brokers * window.lanes * settings.partition_fetch_bytes)
    assert window.room_bytes >= window.response_bytes
    assert min(window.each(3)) >= settings.partition_fetch_bytes


def test_near_it_is_what_the_link_says_and_far_it_is_more() -> None:
    near = fetch_window(SETTINGS, brokers=1, partitions=4, round_trip_s=0.001)
    assert (near.lanes, near.response_bytes, near.each(4)) == (1, 8 * MIB, (MIB, 2 * MIB))
    many = fetch_window(SETTINGS, brokers=1, partitions=8, round_trip_s=0.15)
    assert (many.lanes, many.response_bytes, many.each(2)) == (4, 8 * MIB, (4 * MIB, 4 * MIB))
    crowd = fetch_window(SETTINGS, brokers=1, partitions=2000, round_trip_s=0.001)
    assert (crowd.response_bytes, crowd.room_bytes, crowd.each(2000)) == (3 * MIB, 3 * MIB, (MIB, MIB))
    single = fetch_window(SETTINGS, brokers=1, partitions=1, round_trip_s=0.15)
    assert (single.lanes, single.response_bytes, single.each(1)) == (1, 32 * MIB, (32 * MIB, 32 * MIB))


def test_requests_grow_while_answers_come_soon_and_shrink_when_they_are_late() -> None:
    size = REQUEST_BYTES
    for _ in range(5):
        size = far_request_bytes(size, 0.2)
    assert size == 8 * MIB
    assert far_request_bytes(size, 5.0) == size
    for _ in range(5):
        size = far_request_bytes(size, 9.0)
    assert size == REQUEST_BYTES


def test_so_many_requests_are_on_their_way() -> None:
    """At least five, however large; more of small ones to a near broker, of any to a far one that answers soon."""
    large, small = REQUEST_BYTES, 128 << 10
    for far in (False, True):
        assert not has_enough(LEAST_REQUESTS - 1, 1 << 30, far=far, answered_in_s=60.0)
        assert has_enough(MOST_REQUESTS, 0, far=far, answered_in_s=0.001)
    assert has_enough(LEAST_REQUESTS, LEAST_REQUESTS * large, far=False, answered_in_s=0.001)
    assert not has_enough(MOST_REQUESTS - 1, (MOST_REQUESTS - 1) * small, far=False, answered_in_s=60.0)
    assert not has_enough(MOST_REQUESTS - 1, (MOST_REQUESTS - 1) * large, far=True, answered_in_s=0.5)
    assert has_enough(LEAST_REQUESTS, 0, far=True, answered_in_s=3.0)
    assert has_enough(LEAST_REQUESTS, LEAST_REQUESTS * (8 << 20), far=True, answered_in_s=0.5)
