"""Fetch packed by hand, judged by kafka-python's codecs of the same versions."""

import contextlib
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kafka.protocol.consumer import FetchRequest, FetchResponse

from kmirror.wire.errors import ProtocolError
from kmirror.wire.fetch import Fetched, FetchPartition, decode_fetch, encode_fetch

Topic = FetchResponse.FetchableTopicResponse
Partition = Topic.PartitionData
INT32 = st.integers(0, 2**31 - 1)
INT64 = st.integers(-1, 2**63 - 1)
NAMES = st.text("abcXYZ019._-", min_size=1, max_size=249)
VERSIONS = st.sampled_from([12, 13])


def topic_id(name: str) -> bytes:
    return uuid.uuid5(uuid.NAMESPACE_DNS, name).bytes


@given(
    VERSIONS,
    st.lists(st.tuples(NAMES, INT32, INT64, INT32), max_size=8, unique_by=lambda t: t[:2]),
    st.tuples(INT32, INT32, st.integers(0, 1), st.text(max_size=200)),
    st.tuples(INT32, st.integers(-1, 2**31 - 1)),
    st.lists(st.tuples(NAMES, INT32), max_size=5, unique=True),
)
def test_kafka_python_reads_our_request(
    version: int,
    wanted: list[tuple[str, int, int, int]],
    how: tuple[int, int, int, str],
    session: tuple[int, int],
    gone: list[tuple[str, int]],
) -> None:
    wait, size, isolation, rack = how
    items = [FetchPartition(name, topic_id(name), number, offset, most) for name, number, offset, most in wanted]
    forgotten = [FetchPartition(name, topic_id(name), number, 0, 0) for name, number in gone]
    body = encode_fetch(
        version,
        items,
        max_wait_ms=wait,
        max_bytes=size,
        isolation=isolation,
        min_bytes=3,
        rack=rack,
        session=session,
        forgotten=forgotten,
    )
    found = FetchRequest.decode(body, version=version)
    assert (found.max_wait_ms, found.max_bytes, found.isolation_level, found.min_bytes) == (wait, size, isolation, 3)
    assert (found.replica_id, found.session_id, found.session_epoch, found.rack_id) == (-1, *session, rack)
    assert {
        (f.topic_id.bytes if version == 13 else f.topic, number)
        for f in found.forgotten_topics_data
        for number in f.partitions
    } == {(topic_id(name) if version == 13 else name, number) for name, number in gone}
    got = [
        (t.topic_id.bytes if version == 13 else t.topic, p.partition, p.fetch_offset, p.partition_max_bytes)
        for t in found.topics
        for p in t.partitions
    ]
    names = list(dict.fromkeys(item.topic for item in items))
    ordered = sorted(items, key=lambda item: names.index(item.topic))
    assert got == [(i.topic_id if version == 13 else i.topic, i.partition, i.offset, i.max_bytes) for i in ordered]
    assert {
        (p.current_leader_epoch, p.last_fetched_epoch, p.log_start_offset) for t in found.topics for p in t.partitions
    } <= {(-1, -1, -1)}
    found._header = None  # a decoded one lacks it
    assert found.encode(version=version) == body


@st.composite
def responses(draw: st.DrawFn) -> tuple[int, FetchResponse]:
    """What a broker may answer, tagged fields and null arrays among it."""
    version = draw(VERSIONS)
    topics = []
    for name in draw(st.lists(NAMES, max_size=3, unique=True)):
        partitions = [draw(_partitions()) for _ in range(draw(st.integers(0, 3)))]
        topics.append(Topic(topic=name, topic_id=uuid.UUID(bytes=topic_id(name)), partitions=partitions))
    answer = FetchResponse(
        throttle_time_ms=draw(INT32), error_code=draw(st.integers(-1, 120)), session_id=draw(INT32), responses=topics
    )
    return version, answer


@st.composite
def _partitions(draw: st.DrawFn) -> object:
    pairs = st.lists(st.tuples(INT64, INT64), max_size=3)
    aborted = draw(st.none() | pairs)
    tags = {}
    if draw(st.booleans()):
        tags["current_leader"] = Partition.LeaderIdAndEpoch(leader_id=draw(INT32), leader_epoch=draw(INT32))
    if draw(st.booleans()):
        tags["diverging_epoch"] = Partition.EpochEndOffset(epoch=draw(INT32), end_offset=draw(INT64))
    made = None
    if aborted is not None:
        made = [Partition.AbortedTransaction(producer_id=p, first_offset=o) for p, o in aborted]
    return Partition(
        partition_index=draw(INT32),
        error_code=draw(st.integers(-1, 120)),
        high_watermark=draw(INT64),
        last_stable_offset=draw(INT64),
        log_start_offset=draw(INT64),
        aborted_transactions=made,
        preferred_read_replica=draw(st.integers(-1, 5)),
        records=draw(st.none() | st.binary(max_size=300)),
        **tags,
    )


def frame_of(answer: FetchResponse, version: int) -> memoryview:
    """With the header: correlation id, no tagged fields."""
    return memoryview(bytearray(b"\0\0\0\5\0" + answer.encode(version=version)))


@given(responses())
def test_we_read_what_kafka_python_writes(made: tuple[int, FetchResponse]) -> None:
    version, answer = made
    throttle, error, found, session_id = decode_fetch(frame_of(answer, version), version)
    assert (throttle, error, session_id) == (answer.throttle_time_ms, answer.error_code, answer.session_id)
    expected = [
        Fetched(
            t.topic_id.bytes if version == 13 else t.topic,
            p.partition_index,
            p.error_code,
            p.high_watermark,
            p.last_stable_offset,
            p.log_start_offset,
            tuple((a.producer_id, a.first_offset) for a in p.aborted_transactions or []),
            memoryview(p.records or b""),
            p.diverging_epoch.end_offset if p.diverging_epoch and p.diverging_epoch.end_offset >= 0 else None,
            p.preferred_read_replica,
        )
        for t in answer.responses
        for p in t.partitions
    ]
    assert found == expected


def test_records_are_a_view_into_the_frame() -> None:
    part = Partition(partition_index=0, records=b"records", aborted_transactions=[], error_code=0)
    frame = frame_of(FetchResponse(responses=[Topic(topic="t", partitions=[part])]), 12)
    found = decode_fetch(frame, 12)[2][0].records
    found[0:1] = b"R"
    assert b"Records" in bytes(frame)


@given(responses(), st.data())
def test_damage_is_a_protocol_error_or_an_answer(made: tuple[int, FetchResponse], data: st.DataObject) -> None:
    version, answer = made
    frame = frame_of(answer, version)
    for _ in range(data.draw(st.integers(1, 6))):
        frame[data.draw(st.integers(4, len(frame) - 1))] = data.draw(st.sampled_from([0, 1, 0x7F, 0x80, 0xFF]))
    with contextlib.suppress(ProtocolError):
        decode_fetch(frame[: data.draw(st.integers(0, len(frame)))], version)


@pytest.mark.parametrize("version", [12, 13])
def test_a_cut_through_the_partitions_is_a_protocol_error(version: int) -> None:
    part = Partition(partition_index=0, records=b"records", aborted_transactions=[], error_code=0)
    frame = frame_of(FetchResponse(responses=[Topic(topic="topic", topic_id=uuid.uuid4(), partitions=[part])]), version)
    for cut in range(4, len(frame) - 3):  # the last three bytes are empty tag sections
        with pytest.raises(ProtocolError):
            decode_fetch(frame[:cut], version)


@given(st.binary(max_size=200), VERSIONS)
def test_noise_is_a_protocol_error_or_an_answer(noise: bytes, version: int) -> None:
    with contextlib.suppress(ProtocolError):
        decode_fetch(memoryview(noise), version)
