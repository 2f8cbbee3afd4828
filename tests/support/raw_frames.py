"""Kafka's frames as a server sees them that knows nothing else of Kafka."""

import asyncio
import struct
from collections.abc import Awaitable, Callable

from kmirror.model.access import Access
from kmirror.wire.connection import Connection
from kmirror.wire.dial import connect

Reader, Writer = asyncio.StreamReader, asyncio.StreamWriter
Serve = Callable[[Reader, Writer], Awaitable[None]]
VERSIONS = struct.pack(">hi", 0, 2) + struct.pack(">hhh", 1, 4, 17) + struct.pack(">hhh", 0, 3, 9)


def frame(correlation: int, body: bytes) -> bytes:
    return struct.pack(">ii", len(body) + 4, correlation) + body


async def request(reader: Reader) -> tuple[int, int, int, bytes]:
    """(api key, version, correlation id, what follows the client id) of one request."""
    size = struct.unpack(">i", await reader.readexactly(4))[0]
    data = await reader.readexactly(size)
    key, version, correlation, length = struct.unpack_from(">hhih", data)
    assert data[10 : 10 + length] == b"kmirror"
    return key, version, correlation, data[10 + length :]


def with_server(serve: Serve, act: Callable[[Connection], Awaitable[None]], *, hello: bytes = VERSIONS) -> None:
    """Runs `act` on a connection to a server that answers ApiVersions with `hello` and then is `serve`."""

    async def run() -> None:
        async def on_client(reader: Reader, writer: Writer) -> None:
            try:
                key, version, correlation, _ = await request(reader)
                assert (key, version) == (18, 0)
                writer.write(frame(correlation, hello))
                await serve(reader, writer)
            except (ConnectionError, asyncio.IncompleteReadError):
                pass  # the client went: each test says itself whether it should
            finally:
                writer.close()

        server = await asyncio.start_server(on_client, "127.0.0.1", 0)
        host, port = server.sockets[0].getsockname()
        connection = None
        try:
            async with asyncio.timeout(20):
                connection = await connect(Access(f"{host}:{port}"), host, port, timeout=2)
                await act(connection)
        finally:
            if connection:
                connection.close()
            server.close()
            await asyncio.sleep(0)

    asyncio.run(run())
