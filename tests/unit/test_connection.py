"""Framing, order, deadlines and resets, against a server that speaks raw frames and knows nothing of Kafka."""

import asyncio
import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kafka.protocol.metadata import ApiVersionsRequest, ApiVersionsResponse

from kmirror.model.access import Access
from kmirror.wire import connection as module
from kmirror.wire.connection import Connection
from kmirror.wire.dial import connect
from kmirror.wire.errors import BrokerError, ConnectionLost, ProtocolError, UnsupportedVersion
from support.raw_frames import Reader, Writer, frame, request, with_server


def ask(connection: Connection, body: bytes = b"", *, timeout: float = 10) -> "asyncio.Future[memoryview]":
    return connection.send(1, 12, [body], flexible=False, timeout=timeout)


async def echo(reader: Reader, writer: Writer) -> None:
    while True:
        _, _, correlation, body = await request(reader)
        writer.write(frame(correlation, body))


async def silent(reader: Reader, writer: Writer) -> None:
    await reader.read()


@given(st.lists(st.binary(max_size=20_000) | st.just(b"\0" * 10_000), min_size=1, max_size=8), st.integers(1, 5000))
def test_answers_come_whole_and_in_order_however_they_are_cut(bodies: list[bytes], piece: int) -> None:
    async def serve(reader: Reader, writer: Writer) -> None:
        data = b""
        for _ in bodies:
            _, _, correlation, body = await request(reader)
            data += frame(correlation, body)
        for i in range(0, len(data), max(piece, len(data) // 50)):
            writer.write(data[i : i + max(piece, len(data) // 50)])
            await writer.drain()
            await asyncio.sleep(0)
        await reader.read()

    async def act(connection: Connection) -> None:
        answers = await asyncio.gather(*[ask(connection, body) for body in bodies])
        assert [bytes(a[4:]) for a in answers] == bodies
        assert not any(a.readonly for a in answers)

    with_server(serve, act)


def test_parts_are_one_request_and_flexible_headers_have_a_tag_section() -> None:
    async def act(connection: Connection) -> None:
        big = memoryview(b"b" * 100_000)
        answer = await connection.send(1, 12, [b"a", big, b"c", big, b""], flexible=True, timeout=10)
        assert answer[4:] == b"\0a" + big.tobytes() + b"c" + big.tobytes()
        assert (await ask(connection, b"x"))[4:] == b"x"

    with_server(echo, act)


def test_versions() -> None:
    async def act(connection: Connection) -> None:
        assert connection.version_of(1, 12, 13) == 13
        assert connection.version_of(1, 12, 20) == 17
        assert connection.version_of(0, 9, 13) == 9
        for key, least, most in ((0, 10, 13), (1, 1, 3), (99, 0, 5)):
            with pytest.raises(UnsupportedVersion):
                connection.version_of(key, least, most)

    with_server(silent, act)


@pytest.mark.parametrize("size", [-1, 0, 3, module.MAX_FRAME_BYTES + 1])
def test_an_impossible_length_loses_the_connection(size: int) -> None:
    async def serve(reader: Reader, writer: Writer) -> None:
        await request(reader)
        writer.write(struct.pack(">i", size) + b"12345678")
        await reader.read()

    async def act(connection: Connection) -> None:
        first, second = ask(connection), ask(connection)
        for answer in (first, second):
            with pytest.raises(ProtocolError, match=f"frame of {size} bytes"):
                await answer
        assert not connection.alive

    with_server(serve, act)


def test_an_answer_out_of_order_loses_the_connection() -> None:
    async def serve(reader: Reader, writer: Writer) -> None:
        await request(reader)
        _, _, second, _ = await request(reader)
        writer.write(frame(second, b""))
        await reader.read()

    async def act(connection: Connection) -> None:
        for answer in (ask(connection), ask(connection)):
            with pytest.raises(ProtocolError, match="out of order"):
                await answer
        assert not connection.alive

    with_server(serve, act)


def test_an_answer_nobody_asked_for_loses_the_connection() -> None:
    async def serve(reader: Reader, writer: Writer) -> None:
        writer.write(frame(7, b""))
        await reader.read()

    async def act(connection: Connection) -> None:
        while connection.alive:  # noqa: ASYNC110  # it tells nobody
            await asyncio.sleep(0.01)
        with pytest.raises(ConnectionLost):
            ask(connection)

    with_server(serve, act)


def test_a_missed_deadline_loses_all_that_waits() -> None:
    async def act(connection: Connection) -> None:
        first, second = ask(connection, timeout=0.1), ask(connection, timeout=60)
        for answer in (first, second):
            with pytest.raises(ConnectionLost):
                await answer
        assert not connection.alive

    with_server(silent, act)


def test_a_caller_that_went_away_keeps_the_order() -> None:
    async def act(connection: Connection) -> None:
        first, second = ask(connection, b"1"), ask(connection, b"2")
        first.cancel()
        assert (await second)[4:] == b"2"

    with_server(echo, act)


@pytest.mark.parametrize("half", [b"", b"\0\0", struct.pack(">ii", 100, 2)])
def test_a_server_that_hangs_up(half: bytes) -> None:
    async def serve(reader: Reader, writer: Writer) -> None:
        await request(reader)
        writer.write(half)
        await writer.drain()

    async def act(connection: Connection) -> None:
        with pytest.raises(ConnectionLost, match="lost"):
            await ask(connection)
        assert not connection.alive

    with_server(serve, act)


def test_close_resets_so_that_nothing_is_sent_late() -> None:
    ends: list[str] = []

    async def serve(reader: Reader, writer: Writer) -> None:
        try:
            await reader.read()
            ends.append("end of file")
        except ConnectionResetError:
            ends.append("reset")

    async def act(connection: Connection) -> None:
        answer = ask(connection)
        await asyncio.sleep(0)
        connection.close()
        connection.close()
        with pytest.raises(ConnectionLost, match="closed"):
            await answer
        while not ends:  # noqa: ASYNC110  # the other side's task says it
            await asyncio.sleep(0.01)

    with_server(serve, act)
    assert ends == ["reset"]


def test_drain_waits_for_a_reader() -> None:
    async def act(connection: Connection) -> None:
        started.set()
        answer = ask(connection, b"x" * (30 << 20))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(connection.drain(), 0.2)
        go_on.set()
        await connection.drain()
        assert len(await answer) == 5

    async def serve(reader: Reader, writer: Writer) -> None:
        await started.wait()
        await go_on.wait()
        _, _, correlation, _ = await request(reader)
        writer.write(frame(correlation, b"."))
        await reader.read()

    started, go_on = asyncio.Event(), asyncio.Event()
    with_server(serve, act)


def test_nobody_listens() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    with pytest.raises(ConnectionLost, match=f"127.0.0.1:{port}"):
        asyncio.run(connect(Access(f"127.0.0.1:{port}"), "127.0.0.1", port))


def test_a_server_that_does_not_speak_kafka() -> None:
    async def act(_: Connection) -> None:
        raise AssertionError("connected")

    with pytest.raises(BrokerError, match="ApiVersions"):
        with_server(silent, act, hello=struct.pack(">hi", 35, 0))
    with pytest.raises(ProtocolError, match="unreadable"):
        with_server(silent, act, hello=b"\0")


@given(st.binary(max_size=60))
def test_an_unreadable_answer_is_a_protocol_error(noise: bytes) -> None:
    async def serve(reader: Reader, writer: Writer) -> None:
        _, _, correlation, _ = await request(reader)
        writer.write(frame(correlation, noise))
        await reader.read()

    async def act(connection: Connection) -> None:
        try:
            await connection.call(ApiVersionsRequest(), ApiVersionsResponse, 3)
        except ProtocolError:
            assert not connection.alive

    with_server(serve, act)


def test_a_throttled_connection_is_left_alone_and_nothing_is_late() -> None:
    """KIP-219: the broker reads nothing for a while. What was sent before is given that time on top of its own."""

    async def serve(reader: Reader, writer: Writer) -> None:
        _, _, correlation, body = await request(reader)
        await asyncio.sleep(1.5)  # a deadline is looked at once a second
        writer.write(frame(correlation, body))
        await echo(reader, writer)

    async def act(connection: Connection) -> None:
        loop = asyncio.get_running_loop()
        answer = ask(connection, b"early", timeout=0.1)
        connection.throttled(1800)
        began = loop.time()
        assert bytes(await answer)[4:] == b"early"
        await connection.unthrottled()
        assert loop.time() - began >= 1.79
        connection.throttled(0)
        await connection.unthrottled()
        connection.throttled(60_000)
        loop.call_later(0.1, connection.close)
        await connection.unthrottled()  # nobody waits for a connection that is gone
        assert not connection.alive

    with_server(serve, act)


def test_an_answer_that_comes_slowly_is_not_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a large one the kernel wakes us for much only: what waits there counts as well."""
    monkeypatch.setattr(module, "_LOOK_S", 0.4)
    body = bytes(150_000)

    async def serve(reader: Reader, writer: Writer) -> None:
        _, _, correlation, _ = await request(reader)
        data = frame(correlation, body)
        for at in range(0, len(data), len(data) // 30):
            writer.write(data[at : at + len(data) // 30])
            await asyncio.sleep(0.05)
        await reader.read()

    async def act(connection: Connection) -> None:
        assert (await ask(connection, timeout=0.1))[4:] == body

    with_server(serve, act)


def test_an_asker_of_ones_own_is_answered_at_once_and_told_of_a_loss_later() -> None:
    told: list[object] = []

    class Asker:
        def done(self) -> bool:
            return False

        def set_result(self, frame: memoryview) -> None:
            told.append(bytes(frame[4:]))

        def set_exception(self, error: Exception) -> None:
            told.append(type(error))

    async def act(connection: Connection) -> None:
        for body in (b"a", b"b"):
            connection.send_for(Asker(), 1, 12, [body], flexible=False, timeout=10)
        await ask(connection)
        assert told == [b"a", b"b"]
        connection.send_for(Asker(), 1, 12, [b"c"], flexible=False, timeout=10)
        connection.close()
        assert told[2:] == [ConnectionLost]
        with pytest.raises(ConnectionLost):
            connection.send_for(Asker(), 1, 12, [b"d"], flexible=False, timeout=10)

    with_server(echo, act)


def test_how_long_a_broker_is_silent_about_one_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each answer ends it, and while a quota holds us back silence means nothing."""
    monkeypatch.setattr(module, "_LOOK_S", 0.02)

    async def answers_one_when_asked_twice(reader: Reader, writer: Writer) -> None:
        first = await request(reader)
        await request(reader)
        writer.write(frame(first[2], b""))
        await reader.read()

    async def act(connection: Connection) -> None:
        first = ask(connection)
        while connection.silent_s < 0.1:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        second = ask(connection)
        await first
        while connection.silent_s >= 0.1:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        connection.throttled(60_000)
        await asyncio.sleep(0.1)
        assert connection.silent_s == 0
        connection.give_up("it is silent")
        with pytest.raises(ConnectionLost, match="it is silent"):
            await second

    with_server(answers_one_when_asked_twice, act)


def test_a_broker_that_is_asked_nothing_is_not_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a trickle: each look finds that all has been answered."""
    monkeypatch.setattr(module, "_LOOK_S", 0.02)

    async def act(connection: Connection) -> None:
        for _ in range(10):
            await ask(connection)
            await asyncio.sleep(0.03)  # a look
            assert connection.silent_s < 0.1

    with_server(echo, act)


@pytest.mark.parametrize("awaited", [False, True])
def test_an_idle_connection_that_is_closed_has_not_broken(*, awaited: bool) -> None:
    async def serve(reader: Reader, _: Writer) -> None:
        if awaited:
            await request(reader)

    async def act(connection: Connection) -> None:
        if awaited:
            with pytest.raises(ConnectionLost):
                await ask(connection)
        while connection.alive:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        assert connection.broke == awaited

    with_server(serve, act)
