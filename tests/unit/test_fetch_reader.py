"""An answer that is led into pipes holds what it would hold in memory, however it comes, and leaves nothing open."""

import gc
import os
import socket
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kafka.protocol.consumer import FetchResponse

from kmirror.engine.budget import Budget
from kmirror.engine.copy import PartitionCopy
from kmirror.engine.intake import FetchEvents, Intake
from kmirror.engine.steps import Append, Step
from kmirror.engine.translate import translate
from kmirror.model.access import Access
from kmirror.model.mirror import Mirror
from kmirror.model.states import MirrorState
from kmirror.wire import fetch_reader, pipes, relay
from kmirror.wire.batch import sizes
from kmirror.wire.connection import Connection
from kmirror.wire.errors import ConnectionLost, ProtocolError
from kmirror.wire.fetch import Fetched, decode_fetch
from kmirror.wire.fetch_reader import FetchReader
from kmirror.wire.pipes import MOST_BYTES, PipePool, PlainPipe, read_into
from kmirror.wire.topic_id import topic_id_text
from support.batches import CONTROL, LOG_APPEND_TIME, TRANSACTIONAL, Rec, batch
from support.compiled import compiled
from support.raw_frames import Reader, Writer, frame, request, with_server
from support.source_log import SourceLog, source_logs
from support.steps import plain

Topic = FetchResponse.FetchableTopicResponse
Partition = Topic.PartitionData
VERSIONS = st.sampled_from([12, 13])
TOPIC_ID = topic_id_text(bytes(range(16)))
PIECES = st.lists(st.integers(1, 3_000), min_size=1, max_size=5)


def open_files() -> int:
    gc.collect()
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.fixture(autouse=True)
def small_ones_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch_reader, "LEAST_BYTES", 62)
    monkeypatch.setattr(fetch_reader, "_AHEAD_BYTES", 8)
    monkeypatch.setattr(fetch_reader, "_BETWEEN_BYTES", 40)


@pytest.fixture(autouse=True, params=["compiled", "plain Python"])
def twin(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    by_c = request.param == "compiled"
    monkeypatch.setattr(relay, "lead", compiled("_relay").lead if by_c else relay.lead_slowly)
    monkeypatch.setattr(pipes, "Pipe", compiled("_relay").Pipe if by_c else PlainPipe)


@pytest.fixture(autouse=True)
def nothing_is_left_open(twin: None) -> Iterator[None]:
    before = open_files()
    yield
    assert open_files() == before


def frame_of(logs: Sequence[tuple[bytes, Sequence[tuple[int, int]]]], version: int) -> bytes:
    """An answer with a topic of so many partitions, and one without any between two of it."""
    made = [
        Partition(
            partition_index=number,
            error_code=0,
            high_watermark=1000,
            last_stable_offset=1000,
            log_start_offset=0,
            aborted_transactions=[Partition.AbortedTransaction(producer_id=p, first_offset=o) for p, o in aborted],
            preferred_read_replica=-1,
            records=data,
        )
        for number, (data, aborted) in enumerate(logs)
    ]
    parts = [made[:1], [], made[1:]]
    topics = [Topic(topic=f"t{n}", topic_id=uuid.UUID(int=n + 1), partitions=part) for n, part in enumerate(parts)]
    answer = FetchResponse(throttle_time_ms=0, error_code=0, session_id=0, responses=topics)
    return b"\0\0\0\5\0" + bytes(answer.encode(version=version))


def piped_bytes(reader: FetchReader) -> int:
    return sum(len(pipe) for pipes in reader.piped.values() for pipe in pipes.values())


def receive(reader: FetchReader, frame: bytes, pieces: Sequence[int], *, there: int = 10) -> memoryview:
    """Has a reader receive a frame that comes in pieces of these sizes, the last of them again and again."""
    memory = memoryview(bytearray(len(frame)))
    memory[:there] = frame[:there]
    reader.begin(memory, there)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        sent, sizes = there, list(pieces)
        while sent < len(frame):
            size = sizes.pop(0) if len(sizes) > 1 else sizes[0]
            sent += theirs.send(frame[sent : sent + size])
            while reader.received < sent:
                assert reader.receive(ours) > 0
            with pytest.raises(BlockingIOError):
                reader.receive(ours)
    return reader.end()


def whole(fetched: Fetched) -> bytes:
    """Its records, as they would be in memory."""
    out, at = b"", 0
    for place, pipe in fetched.piped.items():
        held = 12 + int.from_bytes(fetched.records[place + 8 : place + 12]) - len(pipe)
        rest = bytearray(len(pipe))
        read_into(pipe, memoryview(rest))
        out += bytes(fetched.records[at : place + held]) + rest
        at = place + held
    return out + bytes(fetched.records[at:])


def read(frame: bytes, version: int, pieces: Sequence[int], pool: PipePool, there: int = 10) -> list[Fetched]:
    reader = FetchReader(version, pool)
    memory = receive(reader, frame, pieces, there=min(there, len(frame)))
    assert len(memory) == len(frame) - piped_bytes(reader)
    return decode_fetch(memory, version, reader.piped).partitions


def steps_of(fetched: Fetched, position: int = 0) -> list[Step]:
    return list(translate(fetched.records, position, fetched.aborted, (0, 0), fetched.piped))


def told(steps: Sequence[Step]) -> tuple[object, ...]:
    more = [(step.base_timestamp, step.source_batches) for step in steps if isinstance(step, Append)]
    return plain(steps), more


@given(
    VERSIONS,
    st.lists(source_logs(), min_size=1, max_size=3),
    PIECES,
    st.tuples(st.integers(0, 20), st.integers(5, 300)),
    st.data(),
)
def test_the_steps_are_the_same(
    version: int, logs: list[SourceLog], pieces: list[int], pool: tuple[int, int], data: st.DataObject
) -> None:
    most, there = pool
    position = data.draw(st.integers(0, min(log.end for log in logs)))
    fetched = [log.fetch(position, data.draw(st.none() | st.integers(1, 900))) for log in logs]
    frame = frame_of([(bytes(records), aborted) for records, aborted in fetched], version)
    expected = decode_fetch(memoryview(bytearray(frame)), version).partitions
    found = read(frame, version, pieces, PipePool(most), there)
    assert len(found) == len(expected) == len(logs)
    for ours, theirs in zip(found, expected, strict=True):
        assert (ours.topic, ours.partition, ours.aborted) == (theirs.topic, theirs.partition, theirs.aborted)
        assert list(sizes(ours.records, ours.missing)) == list(sizes(theirs.records, {}))
        assert told(steps_of(ours, position)) == told(steps_of(theirs, position))


def taken(fetched: Fetched) -> PartitionCopy:
    """A copy that stands at the beginning, and has taken this."""
    mirror = Mirror("t", "s", TOPIC_ID, TOPIC_ID, 1, MirrorState.ACTIVE, 1)
    copy = PartitionCopy(mirror, 0, Budget(1 << 20))
    copy.opened(1, 0, None, -1)
    tell = FetchEvents(*[lambda *_: None] * 5)
    kept = Intake(1, Access("localhost:9092"), tell).take(copy, fetched, leader=1)
    assert kept == copy.queued_bytes
    return copy


@given(source_logs(), PIECES)
def test_the_next_fetch_is_the_same(log: SourceLog, pieces: list[int]) -> None:
    """The broker is told of which epoch the last batch was."""
    frame = frame_of([(log.data, [(pid, first) for pid, first, _ in log.aborted])], 13)
    (ours,) = read(frame, 13, pieces, PipePool())
    (theirs,) = decode_fetch(memoryview(bytearray(frame)), 13).partitions
    found, expected = taken(ours), taken(theirs)
    assert (found.position, found.position_epoch) == (expected.position, expected.position_epoch)
    assert found.queued_bytes == expected.queued_bytes


def test_the_epoch_behind_an_aborted_transaction_that_was_in_a_pipe() -> None:
    """Else an older one is told, and the broker says that its log was cut there."""
    first = batch(0, [Rec(0)], leader_epoch=3)
    aborted = batch(1, [Rec(0, os.urandom(1000))], attributes=TRANSACTIONAL, producer=(9, 0, 0), leader_epoch=4)
    marker = batch(
        2, [Rec(0, b"\0" * 6, b"\0" * 4)], attributes=TRANSACTIONAL | CONTROL, producer=(9, 0, -1), leader_epoch=5
    )
    (found,) = read(frame_of([(first + aborted + marker, [(9, 1)])], 13), 13, [5000], PipePool())
    assert len(found.piped) == 2
    copy = taken(found)
    assert (copy.position, copy.position_epoch) == (3, 5)


@given(source_logs(), PIECES)
def test_what_can_go_as_it_is_stays_in_pipes(log: SourceLog, pieces: list[int]) -> None:
    """Nothing but what came with the bytes before it, and what can't go as it is."""
    frame = frame_of([(log.data, [(pid, first) for pid, first, _ in log.aborted])], 13)
    (found,) = read(frame, 13, pieces, PipePool())
    steps = steps_of(found)
    piped = [step for step in steps if isinstance(step, Append) and step.pipe is not None]
    before = next((entry.base for entry in log.entries if not entry.plain), log.end)
    large = [
        e for e in log.entries if e.last < before and log.data.index(e.data) + len(e.data) > 600
    ]  # others come ahead
    assert len(piped) >= len(large)
    for step in piped:
        assert step.pipe is not None
        assert 0 < len(step.pipe) <= step.size - 61


@given(source_logs(), VERSIONS, st.lists(st.tuples(st.integers(0), st.integers(0, 255)), max_size=4), PIECES)
def test_a_damaged_answer_comes_whole_to_whoever_decodes_it(
    log: SourceLog, version: int, damage: list[tuple[int, int]], pieces: list[int]
) -> None:
    """Neither is more read than has come, nor anything else decoded than without pipes."""
    frame = bytearray(frame_of([(log.data, [])] * 2, version))
    for at, value in damage:
        frame[at % len(frame)] = value
    reader = FetchReader(version, PipePool())
    memory = receive(reader, bytes(frame), pieces)
    assert reader.received == len(frame)
    try:
        expected = decode_fetch(memoryview(frame), version).partitions
    except ProtocolError:
        with pytest.raises(ProtocolError):
            decode_fetch(memory, version, reader.piped)
        return
    found = decode_fetch(memory, version, reader.piped).partitions
    assert [(f.topic, f.partition) for f in found] == [(f.topic, f.partition) for f in expected]
    assert [whole(f) for f in found] == [bytes(f.records) for f in expected]


def large(size: int, base: int = 0) -> bytes:
    return batch(base, [Rec(0, os.urandom(size))])


def test_a_batch_in_too_many_packets_comes_to_memory() -> None:
    """A pipe holds so many pieces, however small: the last batch comes in larger ones and fits."""
    logs = large(100_000) + large(100_000, 1) + large(100_000, 2)
    frame = frame_of([(logs, [])], 13)
    reader = FetchReader(13, PipePool())
    memory = receive(reader, frame, [*[500] * 450, 50_000])
    (found,) = decode_fetch(memory, 13, reader.piped).partitions
    assert list(found.piped) == [len(large(100_000)) * 2]
    assert len(memory) < len(frame) - 50_000
    assert told(steps_of(found)) == told(steps_of(decode_fetch(memoryview(bytearray(frame)), 13).partitions[0]))


@pytest.mark.parametrize(("behind", "most", "piped"), [(False, 9, True), (True, 9, False), (False, 0, False)])
def test_more_is_asked_for_while_what_comes_finds_a_pipe(behind: bool, most: int, piped: bool) -> None:
    kept = batch(1, [Rec(0, b"v")], attributes=LOG_APPEND_TIME) if behind else b""
    (found,) = read(frame_of([(large(100_000) + kept, [])], 13), 13, [50_000], PipePool(most))
    copy = taken(found)
    assert copy.bytes_to_fetch(1000, 2000) == (2000 if piped else 1000)


@pytest.mark.parametrize(("between", "piped"), [(1, 2), (7, 2), (8, 1)])
def test_large_batches_behind_some_that_come_to_memory(between: int, piped: int) -> None:
    """Behind many of them none is looked for any more."""
    kept = b"".join(batch(number, [Rec(0, b"v")], attributes=LOG_APPEND_TIME) for number in range(1, between + 1))
    frame = frame_of([(large(100_000) + kept + large(100_000, between + 1), [])], 13)
    (found,) = read(frame, 13, [50_000], PipePool())
    assert len(found.piped) == piped
    assert told(steps_of(found)) == told(steps_of(decode_fetch(memoryview(bytearray(frame)), 13).partitions[0]))


@pytest.mark.parametrize("size", [MOST_BYTES - 100, MOST_BYTES])
def test_a_batch_that_is_too_large_for_a_pipe(size: int) -> None:
    (found,) = read(frame_of([(large(size), [])], 13), 13, [100_000], PipePool())
    assert len(found.piped) == (size < MOST_BYTES)
    assert [step.count for step in steps_of(found) if isinstance(step, Append)] == [1]


def test_pipes_are_used_again_once_they_are_empty() -> None:
    pool = PipePool()
    for _ in range(300):  # far more than there may be at a time
        (found,) = read(frame_of([(large(1000), [])], 13), 13, [5000], pool)
        assert len(found.piped) == 1
        steps_of(found)[0].whole()  # type: ignore[union-attr]


def test_pipes_that_are_dropped_are_closed() -> None:
    pool = PipePool()
    for _ in range(300):
        assert len(read(frame_of([(large(1000), [])], 13), 13, [5000], pool)[0].piped) == 1


def test_there_are_no_more_pipes_than_a_user_may_have() -> None:
    pool = PipePool()
    held = []
    while (pipe := pool.take()) is not None:
        held.append(pipe)
    assert 1 < len(held) <= 128
    del held[0]
    assert pool.take() is not None


def test_the_other_side_hangs_up() -> None:
    frame = frame_of([(large(1000), [])], 13)
    reader = FetchReader(13, PipePool())
    reader.begin(memoryview(bytearray(len(frame))), 0)
    ours, theirs = socket.socketpair()
    with ours:
        ours.setblocking(False)
        with theirs:
            theirs.send(frame[:700])
        assert reader.receive(ours) == 700
        assert reader.receive(ours) == 0


def test_a_connection_that_breaks_frees_its_pipes() -> None:
    """At once: it may be kept for as long as the broker is away, and there are not many."""
    data = frame_of([(large(100_000), [])], 13)[4:]
    pool = PipePool(1)

    async def serve(reader: Reader, writer: Writer) -> None:
        _, _, correlation, _ = await request(reader)
        writer.write(frame(correlation, data)[:50_000])

    async def act(connection: Connection) -> None:
        answer = connection.send(1, 13, [b""], flexible=True, timeout=10, reader=FetchReader(13, pool))
        gc.disable()
        try:
            with pytest.raises(ConnectionLost):
                await answer
            assert pool.take() is not None
        finally:
            gc.enable()

    with_server(serve, act)
