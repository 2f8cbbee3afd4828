"""Produce packed by hand, by C and by plain Python, judged by kafka-python's codecs of the same versions."""

import contextlib
import importlib.util
import struct
import uuid
from collections.abc import Iterator
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kafka.protocol.producer import ProduceRequest, ProduceResponse

from kmirror.wire import produce
from kmirror.wire.errors import ProtocolError
from kmirror.wire.pipes import PlainPipe
from kmirror.wire.produce import (
    Produced,
    ProducePartition,
    decode_produce,
    decode_slowly,
    encode_produce,
    encode_slowly,
)
from kmirror.wire.relay import Part
from support.compiled import compiled as built

Topic = ProduceResponse.TopicProduceResponse
Partition = Topic.PartitionProduceResponse
INT32 = st.integers(0, 2**31 - 1)
INT64 = st.integers(-1, 2**63 - 1)
NAMES = st.text("abcXYZ019._-", min_size=1, max_size=249)
WORDS = st.none() | st.text(st.characters(codec="utf-8"), max_size=30)
VERSIONS = st.sampled_from([9, 13])
INSTALLED = (produce.encode, produce.decode)


@pytest.fixture(scope="module")
def compiled() -> ModuleType:
    return built("_produce")


@pytest.fixture(scope="module", autouse=True, params=[True, False], ids=["compiled", "plain"])
def twin(request: pytest.FixtureRequest) -> Iterator[None]:
    """Each test here is for both."""
    with pytest.MonkeyPatch.context() as patch:
        found = request.getfixturevalue("compiled") if request.param else None
        patch.setattr(produce, "encode", found.encode if found else encode_slowly)
        patch.setattr(produce, "decode", found.decode if found else decode_slowly)
        yield


def topic_id(name: str) -> bytes:
    return uuid.uuid5(uuid.NAMESPACE_DNS, name).bytes


@given(
    VERSIONS, st.lists(st.tuples(NAMES, INT32, st.binary(max_size=300)), max_size=8, unique_by=lambda t: t[:2]), INT32
)
def test_kafka_python_reads_our_request(version: int, wanted: list[tuple[str, int, bytes]], timeout: int) -> None:
    items = [ProducePartition(name, topic_id(name), number, memoryview(data)) for name, number, data in wanted]
    parts = encode_produce(version, items, timeout_ms=timeout)
    body = b"".join(parts)
    found = ProduceRequest.decode(body, version=version)
    assert (found.transactional_id, found.acks, found.timeout_ms) == (None, -1, timeout)
    got = {
        (t.topic_id.bytes if version == 13 else t.name, p.index): bytes(p.records)
        for t in found.topic_data
        for p in t.partition_data
    }
    assert got == {(i.topic_id if version == 13 else i.topic, i.partition): bytes(i.batch) for i in items}
    found._header = None  # a decoded one lacks it
    assert found.encode(version=version) == body
    assert all(any(part is item.batch for part in parts) for item in items)  # not copied


@st.composite
def responses(draw: st.DrawFn) -> tuple[int, ProduceResponse]:
    version = draw(VERSIONS)
    topics = []
    for name in draw(st.lists(NAMES, max_size=3, unique=True)):
        partitions = [draw(_partitions(version)) for _ in range(draw(st.integers(0, 3)))]
        topics.append(Topic(name=name, topic_id=uuid.UUID(bytes=topic_id(name)), partition_responses=partitions))
    return version, ProduceResponse(responses=topics, throttle_time_ms=draw(INT32))


@st.composite
def _partitions(draw: st.DrawFn, version: int) -> object:
    errors = draw(st.lists(st.tuples(INT32, WORDS), max_size=3))
    tags = {}
    if version >= 10 and draw(st.booleans()):
        tags["current_leader"] = Partition.LeaderIdAndEpoch(leader_id=draw(INT32), leader_epoch=draw(INT32))
    return Partition(
        index=draw(INT32),
        error_code=draw(st.just(-1) | st.integers(-1, 120)),
        base_offset=draw(INT64),
        log_append_time_ms=draw(INT64),
        log_start_offset=draw(INT64),
        record_errors=[
            Partition.BatchIndexAndErrorMessage(batch_index=i, batch_index_error_message=w) for i, w in errors
        ],
        error_message=draw(WORDS),
        **tags,
    )


def frame_of(answer: ProduceResponse, version: int) -> memoryview:
    """With the header: correlation id, no tagged fields."""
    return memoryview(bytearray(b"\0\0\0\5\0" + answer.encode(version=version)))


@given(responses())
def test_we_read_what_kafka_python_writes(made: tuple[int, ProduceResponse]) -> None:
    version, answer = made
    throttle, found = decode_produce(frame_of(answer, version), version)
    assert throttle == answer.throttle_time_ms
    expected = []
    for t in answer.responses:
        for p in t.partition_responses:
            words = [e.batch_index_error_message for e in p.record_errors] + [p.error_message]
            said = next((w for w in words if w), p.error_message)
            name = t.topic_id.bytes if version == 13 else t.name
            expected.append(Produced(name, p.index, p.error_code, p.base_offset, said))
    assert [_said(p) for p in found] == [_said(p) for p in expected]


def _said(p: Produced) -> tuple[object, ...]:
    return (p.topic, p.partition, p.error, p.base_offset, p.message or None)


@given(responses(), st.data())
def test_damage_is_a_protocol_error_or_an_answer(made: tuple[int, ProduceResponse], data: st.DataObject) -> None:
    version, answer = made
    frame = frame_of(answer, version)
    for _ in range(data.draw(st.integers(1, 6))):
        frame[data.draw(st.integers(4, len(frame) - 1))] = data.draw(st.sampled_from([0, 1, 0x7F, 0x80, 0xFF]))
    with contextlib.suppress(ProtocolError):
        decode_produce(frame[: data.draw(st.integers(0, len(frame)))], version)


@pytest.mark.parametrize("version", [9, 13])
def test_a_cut_is_a_protocol_error(version: int) -> None:
    part = Partition(index=0, error_code=3, base_offset=7, record_errors=[], error_message="no")
    answer = ProduceResponse(responses=[Topic(name="topic", topic_id=uuid.uuid4(), partition_responses=[part])])
    frame = frame_of(answer, version)
    for cut in range(len(frame) - 1):  # the last byte is an empty tag section
        with pytest.raises(ProtocolError):
            decode_produce(frame[:cut], version)


@given(st.binary(max_size=200), VERSIONS)
def test_noise_is_a_protocol_error_or_an_answer(noise: bytes, version: int) -> None:
    with contextlib.suppress(ProtocolError):
        decode_produce(memoryview(noise), version)


# --- what one twin does, the other does


class Held(PlainPipe):
    """A pipe of which nobody reads: the codec asks for its length alone."""

    def __init__(self, held: int) -> None:
        self.held = held

    def __del__(self) -> None:
        pass


@given(
    st.lists(st.tuples(NAMES, INT32, st.binary(max_size=300), st.none() | st.integers(1, 1 << 30)), max_size=8),
    INT32,
    st.booleans(),
)
def test_both_twins_write_the_same(
    compiled: ModuleType, wanted: list[tuple[str, int, bytes, int | None]], timeout: int, by_id: bool
) -> None:
    items = [
        ProducePartition(name, topic_id(name), number, memoryview(data), None if piped is None else Held(piped))
        for name, number, data, piped in wanted
    ]
    fast, slow = compiled.encode(items, timeout, by_id), encode_slowly(items, timeout, by_id)
    assert [_shape(part) for part in fast] == [_shape(part) for part in slow]


def _shape(part: Part) -> object:
    """Pipes by themselves, batches by theirs as well: they are not copied."""
    return part if isinstance(part, bytes) else id(part)


def _read(decode: object, frame: memoryview, *, by_id: bool) -> object:
    try:
        return decode(frame, by_id, Produced)  # type: ignore[operator]
    except (ValueError, IndexError, struct.error):
        return "unreadable"


@given(responses(), st.data())
def test_both_twins_read_the_same(compiled: ModuleType, made: tuple[int, ProduceResponse], data: st.DataObject) -> None:
    """However damaged, and both by the wrong version too."""
    version, answer = made
    frame = frame_of(answer, version)
    for _ in range(data.draw(st.integers(0, 3))):
        frame[data.draw(st.integers(0, len(frame) - 1))] = data.draw(st.integers(0, 255))
    frame = frame[: data.draw(st.integers(0, len(frame)) | st.just(len(frame)))]
    for by_id in (True, False):
        fast = _read(compiled.decode, frame, by_id=by_id)
        assert fast == _read(decode_slowly, frame, by_id=by_id)
        if isinstance(fast, tuple):
            assert all(type(answer) is Produced for answer in fast[1])


def test_what_is_no_partition_is_refused(compiled: ModuleType) -> None:
    with pytest.raises(TypeError):
        compiled.decode(memoryview(b""), True, dict)
    with pytest.raises(TypeError):
        compiled.encode([("t", bytes(16), 0, 1, None)], 0, True)


def test_what_is_installed_uses_the_twin_that_is_there() -> None:
    there = importlib.util.find_spec("kmirror.wire._produce") is not None
    assert ((encode_slowly, decode_slowly) == INSTALLED) is not there
