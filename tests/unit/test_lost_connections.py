"""A connection that broke is counted when it would be used again; one that the broker closed as it was idle is not."""

import asyncio

import pytest

from kmirror.model.access import Access
from kmirror.wire.cluster import Cluster
from support.raw_frames import VERSIONS, Reader, Writer, frame, request


@pytest.mark.parametrize(("awaited", "lost"), [(True, 1), (False, 0)])
def test_a_connection_that_broke_is_counted_once(awaited: bool, lost: int) -> None:
    closed = asyncio.Event()

    async def on_client(reader: Reader, writer: Writer) -> None:
        """Says which versions it has, and hangs up: with the next request unanswered, or before there is one."""
        _, _, correlation, _ = await request(reader)
        writer.write(frame(correlation, VERSIONS))
        if awaited:
            await request(reader)
        writer.close()
        closed.set()

    async def run() -> None:
        server = await asyncio.start_server(on_client, "127.0.0.1", 0)
        host, port = server.sockets[0].getsockname()
        cluster = Cluster(Access(f"{host}:{port}"), "source")
        async with server, asyncio.timeout(20):
            first = await cluster.any_connection()
            answer = first.send(3, 9, [b""], flexible=True, timeout=10) if awaited else None
            await closed.wait()
            while first.alive:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
            assert answer is None or answer.exception() is not None
            second = await cluster.any_connection()
            assert second is not first
            assert (cluster.counters.opened, cluster.counters.lost) == (2, lost)
            second.close()
            first.close()

    asyncio.run(run())
