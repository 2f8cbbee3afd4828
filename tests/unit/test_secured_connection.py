"""TLS and sessions that are renewed, against a server that speaks raw frames and knows nothing of Kafka."""

import asyncio
import errno
import socket
import ssl
from collections.abc import Awaitable, Callable
from contextlib import ExitStack

import pytest

from kmirror.model.access import Access
from kmirror.sandbox.authority import Authority
from kmirror.wire.connection import Connection
from kmirror.wire.credentials import pem_path
from kmirror.wire.dial import connect
from kmirror.wire.errors import AuthenticationFailed, ConnectionLost
from support.raw_frames import VERSIONS, frame, request

Reader, Writer = asyncio.StreamReader, asyncio.StreamWriter
HOST = "127.0.0.1"
AUTHORITY = Authority("unit tests")


def tls_server_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with ExitStack() as stack:
        context.load_cert_chain(stack.enter_context(pem_path(AUTHORITY.certify("broker", [HOST]).store)))
    return context


def with_tls_server(
    serve: Callable[[Reader, Writer], Awaitable[None]], act: Callable[[Connection], Awaitable[None]]
) -> None:
    async def run() -> None:
        async def on_client(reader: Reader, writer: Writer) -> None:
            _, _, correlation, _ = await request(reader)
            writer.write(frame(correlation, VERSIONS))
            await serve(reader, writer)

        server = await asyncio.start_server(on_client, HOST, 0, ssl=tls_server_context())
        port = server.sockets[0].getsockname()[1]
        properties = {"security.protocol": "SSL", "ssl.truststore.certificates": AUTHORITY.certificate}
        async with asyncio.timeout(20):
            connection = await connect(Access(f"{HOST}:{port}", tuple(properties.items())), HOST, port)
            try:
                await act(connection)
            finally:
                connection.close()
                server.close()

    asyncio.run(run())


def ask(connection: Connection, body: bytes) -> "asyncio.Future[memoryview]":
    return connection.send(1, 12, [body], flexible=False, timeout=10)


async def echo(reader: Reader, writer: Writer) -> None:
    try:
        while True:
            _, _, correlation, body = await request(reader)
            writer.write(frame(correlation, body))
    except (ConnectionError, asyncio.IncompleteReadError):
        writer.close()


def test_small_and_large_answers_come_whole_and_in_order() -> None:
    async def act(connection: Connection) -> None:
        bodies = [b"x" * size for size in (0, 1, 5000, 3_000_000, 7, 100_000)]
        assert [bytes(a[4:]) for a in await asyncio.gather(*(ask(connection, b) for b in bodies))] == bodies

    with_tls_server(echo, act)


def test_a_connection_that_is_closed_is_reset_and_nothing_is_sent_late() -> None:
    """More waits than the kernel takes; the server reads none of it, then finds a reset, not an orderly end."""
    ended: list[str] = []
    closed = asyncio.Event()
    done = asyncio.Event()

    async def serve(reader: Reader, writer: Writer) -> None:
        writer.transport.pause_reading()
        await closed.wait()
        raw: socket.socket = writer.get_extra_info("socket")
        error = 0
        for _ in range(200):
            error = raw.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if error:
                break
            await asyncio.sleep(0.02)
        ended.append(errno.errorcode.get(error, str(error)))
        writer.transport.abort()
        done.set()

    async def act(connection: Connection) -> None:
        answer = ask(connection, b"x" * 40_000_000)
        await asyncio.sleep(0)
        connection.close()
        with pytest.raises(ConnectionLost):
            await answer
        await asyncio.sleep(0)
        closed.set()
        await done.wait()

    with_tls_server(serve, act)
    assert ended == ["ECONNRESET"]


def test_while_it_is_told_who_we_are_other_requests_wait_and_keep_their_order() -> None:
    seen: list[bytes] = []

    async def serve(reader: Reader, writer: Writer) -> None:
        try:
            while True:
                _, _, correlation, body = await request(reader)
                seen.append(body)
                writer.write(frame(correlation, body))
        except asyncio.IncompleteReadError:
            writer.close()

    async def act(connection: Connection) -> None:
        before = ask(connection, b"before")
        with connection.alone():
            meanwhile = [ask(connection, b"first"), ask(connection, b"second")]
            assert not connection.writes_now
            drained = asyncio.ensure_future(connection.drain())
            told = await connection.send(17, 1, [b"who"], flexible=False, timeout=5, pass_gate=True)
            assert told[4:] == b"who"
            assert not drained.done()
        assert connection.writes_now
        await drained
        assert [bytes(a[4:]) for a in await asyncio.gather(before, *meanwhile)] == [b"before", b"first", b"second"]

    with_tls_server(serve, act)
    assert seen == [b"before", b"who", b"first", b"second"]


def test_who_is_not_believed_loses_the_connection_and_what_waited_is_never_sent() -> None:
    seen: list[bytes] = []

    async def serve(reader: Reader, writer: Writer) -> None:
        try:
            while True:
                seen.append((await request(reader))[3])
        except (ConnectionError, asyncio.IncompleteReadError):
            writer.close()

    async def act(connection: Connection) -> None:
        waiting = ask(connection, b"before")

        async def refused() -> float:
            with connection.alone():
                held.append(ask(connection, b"held"))
                raise AuthenticationFailed("no")

        held: list[asyncio.Future[memoryview]] = []
        connection.renew_within(0.001, refused)
        with pytest.raises(ConnectionLost, match="closed: no"):
            await waiting
        with pytest.raises(ConnectionLost, match="closed: no"):
            await held[0]
        assert not connection.alive

    with_tls_server(serve, act)
    assert b"held" not in seen


@pytest.mark.parametrize("lifetime_s", [0.0, -1.0])
def test_a_session_without_an_end_is_not_renewed(lifetime_s: float) -> None:
    async def act(connection: Connection) -> None:
        async def never() -> float:
            raise AssertionError("it is not renewed")

        connection.renew_within(lifetime_s, never)
        assert connection._renewal is None

    with_tls_server(echo, act)
