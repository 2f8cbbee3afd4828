"""All parts arrive, in order and whole, however little the kernel takes at once; a broken socket is told once."""

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kmirror.wire import relay
from kmirror.wire.pipes import Pipe, PipePool, fill
from kmirror.wire.transport import MEMORY_AT_ONCE_BYTES, Receiver, SocketTransport, open_socket


class Peer(Receiver):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.buffer = bytearray(1000)
        self.received = b""
        self.calls: list[str] = []
        self.lost: list[Exception | None] = []
        self.over = asyncio.Event()

    def pause_writing(self) -> None:
        self.calls.append("pause")

    def resume_writing(self) -> None:
        self.calls.append("resume")

    def get_buffer(self, sizehint: int) -> memoryview:
        return memoryview(self.buffer)

    def buffer_updated(self, nbytes: int) -> None:
        self.received += self.buffer[:nbytes]

    async def has(self, size: int) -> None:
        while len(self.received) < size:  # noqa: ASYNC110  # it tells nobody
            await asyncio.sleep(0.001)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.append(exc)
        self.over.set()


class Narrow:
    """A socket that takes so few bytes at once, and is full now and then."""

    def __init__(self, sock: socket.socket, most: list[int]) -> None:
        self._sock = sock
        self._most = most
        self.calls = 0

    def __getattr__(self, name: str) -> object:
        return getattr(self._sock, name)

    def sendmsg(self, parts: list[memoryview], _: tuple[()] = (), flags: int = 0) -> int:
        self.calls += 1
        most = self._most[self.calls % len(self._most)]
        if not most:
            raise BlockingIOError
        return self._sock.send(b"".join(parts)[:most], flags)


def with_pair(
    act: Callable[[SocketTransport, Peer, socket.socket], Awaitable[None]], most: list[int], peer: Peer | None = None
) -> None:
    """Runs `act` with a transport over one end of a socket pair, and the other.

    It takes so many bytes at once, where `most` says so: by plain Python, for else the kernel is asked directly.
    """

    async def run() -> None:
        ours, theirs = socket.socketpair()
        for sock in (ours, theirs):
            sock.setblocking(False)
        told = peer or Peer()
        transport = SocketTransport(asyncio.get_running_loop(), Narrow(ours, most) if most else ours, told)  # type: ignore[arg-type]
        try:
            async with asyncio.timeout(20):
                await act(transport, told, theirs)
        finally:
            transport.abort()
            theirs.close()

    with pytest.MonkeyPatch.context() as patch:
        if most:
            patch.setattr(relay, "send", relay.send_slowly)
        asyncio.run(run())


async def read(sock: socket.socket, size: int) -> bytes:
    loop = asyncio.get_running_loop()
    data = b""
    while len(data) < size:
        data += await loop.sock_recv(sock, 1 << 20)
    return data


def piped(pool: PipePool, data: bytes) -> Pipe | bytes:
    """Itself, where there are no more pipes."""
    pipe = pool.take()
    if pipe is None or not data:
        return data
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.send(data)
        assert fill(pipe, theirs.fileno(), len(data)) == len(data)
    return pipe


@given(
    st.lists(st.lists(st.tuples(st.binary(max_size=50), st.booleans()), max_size=100), max_size=6),
    st.lists(st.integers(0, 120), min_size=1, max_size=5).filter(any),
)
def test_every_part_arrives_in_order_whatever_the_kernel_takes(
    requests: list[list[tuple[bytes, bool]]], most: list[int]
) -> None:
    pool = PipePool()

    async def act(transport: SocketTransport, _: Peer, theirs: socket.socket) -> None:
        expected = b"".join(b"".join(data for data, _ in parts) for parts in requests)
        for parts in requests:
            transport.writelines([piped(pool, data) if in_pipe else data for data, in_pipe in parts])
        assert await read(theirs, len(expected)) == expected
        assert transport.get_write_buffer_size() == 0

    with_pair(act, most)


def test_the_parts_of_a_request_are_one_system_call() -> None:
    async def act(transport: SocketTransport, _: Peer, theirs: socket.socket) -> None:
        transport.writelines([b"head", memoryview(b"x" * 1000), b"", b"tail"])
        assert await read(theirs, 1008) == b"head" + b"x" * 1000 + b"tail"
        assert transport.get_extra_info("socket").calls == 1

    with_pair(act, [1 << 20])


class Answering(Peer):
    """Writes `size` bytes for each that it reads."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def buffer_updated(self, nbytes: int) -> None:
        super().buffer_updated(nbytes)
        for byte in self.received[-nbytes:]:
            self.transport.writelines([bytes([byte]), bytes(self.size - 1)])  # type: ignore[attr-defined]


def test_what_is_written_while_answers_are_read_is_one_system_call() -> None:
    """However many of them came at once. Where nothing is read what is written goes at once."""

    async def act(transport: SocketTransport, _: Peer, theirs: socket.socket) -> None:
        theirs.send(b"abc")
        assert await read(theirs, 6) == b"a\0b\0c\0"
        assert transport.get_extra_info("socket").calls == 1
        transport.writelines([b"later"])
        assert transport.get_extra_info("socket").calls == 2

    with_pair(act, [1 << 20], Answering(2))


def test_a_protocol_that_writes_too_much_as_it_reads_is_paused_until_it_is_sent() -> None:
    async def act(transport: SocketTransport, peer: Peer, theirs: socket.socket) -> None:
        transport.set_write_buffer_limits(1500)
        theirs.send(b"ab")
        assert await read(theirs, 2000) == b"a" + bytes(999) + b"b" + bytes(999)
        assert peer.calls == ["pause", "resume"]

    with_pair(act, [], Answering(1000))


def test_the_protocol_is_paused_while_too_much_waits() -> None:
    async def act(transport: SocketTransport, peer: Peer, theirs: socket.socket) -> None:
        transport.set_write_buffer_limits(1 << 20)
        transport.write(b"x" * (1 << 20))
        assert peer.calls == []
        size = 8 << 20
        transport.write(memoryview(b"y" * size))
        assert peer.calls == ["pause"]
        data = await read(theirs, size + (1 << 20))
        assert data == b"x" * (1 << 20) + b"y" * size
        assert peer.calls == ["pause", "resume"]

    with_pair(act, [])


def test_what_comes_in_is_given_to_the_protocol() -> None:
    async def act(_: SocketTransport, peer: Peer, theirs: socket.socket) -> None:
        theirs.send(b"hello" * 1000)
        await peer.has(5000)
        assert peer.received == b"hello" * 1000

    with_pair(act, [])


class Frame(Peer):
    """Awaits so many bytes, and then small things again."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size
        self.wakes = 0

    @property
    def awaited_bytes(self) -> int:
        return max(0, self.size - len(self.received))

    def get_buffer(self, sizehint: int) -> memoryview:
        rest = self.size - len(self.received)
        return memoryview(self.buffer) if rest <= 0 else memoryview(bytearray(rest))

    def buffer_updated(self, nbytes: int) -> None:
        self.received += bytes(nbytes)
        self.wakes += 1


async def with_tcp(peer: Peer, act: Callable[[SocketTransport, socket.socket], Awaitable[None]]) -> None:
    """Over TCP: other sockets don't wait for more."""
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        transport = SocketTransport(loop, await open_socket(*server.getsockname()), peer)
        theirs = (await loop.sock_accept(server))[0]
        try:
            async with asyncio.timeout(20):
                await act(transport, theirs)
        finally:
            transport.abort()
            theirs.close()


def test_a_pipe_is_emptied_as_the_other_side_reads() -> None:
    async def act(transport: SocketTransport, theirs: socket.socket) -> None:
        parts = [bytes([n]) * 100_000 for n in range(200)]
        transport.writelines([piped(pool, part) for part in parts])
        assert transport.get_write_buffer_size() > 0
        assert await read(theirs, 200 * 100_000) == b"".join(parts)
        assert transport.get_write_buffer_size() == 0

    pool = PipePool()
    asyncio.run(with_tcp(Peer(), act))


@given(st.lists(st.integers(1, 300_000), max_size=5), st.integers(1, 1 << 20))
@settings(max_examples=25, deadline=None)
def test_a_large_frame_comes_whole_however_it_is_cut(parts: list[int], size: int) -> None:
    async def act(_: SocketTransport, theirs: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        left = size
        for part in [*parts, size]:
            await loop.sock_sendall(theirs, bytes(min(part, left)))
            left -= min(part, left)
            await asyncio.sleep(0.001)
        await peer.has(size)
        await loop.sock_sendall(theirs, b"x")  # the next thing may be small: it is told at once
        await peer.has(size + 1)

    peer = Frame(size)
    asyncio.run(with_tcp(peer, act))


def test_a_large_frame_wakes_seldom() -> None:
    async def act(transport: SocketTransport, theirs: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(theirs, bytes(1000))
        await peer.has(1)
        for _ in range(200):
            await loop.sock_sendall(theirs, bytes(1000))
            await asyncio.sleep(0)
        low = transport.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT)
        assert low == MEMORY_AT_ONCE_BYTES
        assert peer.wakes == 1

    peer = Frame(1 << 20)
    asyncio.run(with_tcp(peer, act))


def test_the_other_side_hangs_up_in_the_midst_of_a_large_frame() -> None:
    async def act(_: SocketTransport, theirs: socket.socket) -> None:
        await asyncio.get_running_loop().sock_sendall(theirs, bytes(1000))
        await peer.has(1)
        theirs.send(bytes(1000))
        theirs.close()
        await peer.over.wait()

    peer = Frame(1 << 20)
    asyncio.run(with_tcp(peer, act))
    assert peer.lost == [None]


def test_the_other_side_hangs_up() -> None:
    async def act(transport: SocketTransport, peer: Peer, theirs: socket.socket) -> None:
        theirs.close()
        await peer.over.wait()
        assert peer.lost == [None]
        assert transport.is_closing()

    with_pair(act, [])


def test_a_reset_is_told_once_with_its_cause() -> None:
    async def act(host: str, port: int, accept: Callable[[], Awaitable[socket.socket]]) -> None:
        peer = Peer()
        ours = await open_socket(host, port)
        theirs = await accept()
        transport = SocketTransport(asyncio.get_running_loop(), ours, peer)
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        theirs.close()
        transport.write(b"x" * (8 << 20))
        transport.write(b"y")
        await peer.over.wait()
        transport.write(b"too late")
        transport.abort()
        await asyncio.sleep(0)
        assert len(peer.lost) == 1
        assert isinstance(peer.lost[0], ConnectionError)

    async def run() -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            server.setblocking(False)
            loop = asyncio.get_running_loop()

            async def accept() -> socket.socket:
                return (await loop.sock_accept(server))[0]

            async with asyncio.timeout(20):
                await act(*server.getsockname(), accept)

    asyncio.run(run())


def test_nothing_waits_in_a_socket_that_is_closed() -> None:
    """Its protocol is told a turn of the event loop later, and may ask meanwhile."""

    async def act(transport: SocketTransport, _: socket.socket) -> None:
        transport.abort()
        assert transport.unread_bytes == 0

    asyncio.run(with_tcp(Peer(), act))


def test_abort_drops_what_waits() -> None:
    async def act(transport: SocketTransport, peer: Peer, theirs: socket.socket) -> None:
        transport.write(b"x" * (64 << 20))
        assert transport.get_write_buffer_size() > 0
        transport.abort()
        await peer.over.wait()
        assert peer.lost == [None]
        assert len(await read_to_end(theirs)) < 64 << 20

    with_pair(act, [])


async def read_to_end(sock: socket.socket) -> bytes:
    data = b""
    while more := await asyncio.get_running_loop().sock_recv(sock, 1 << 20):
        data += more
    return data


def test_a_host_that_nobody_knows() -> None:
    with pytest.raises(socket.gaierror):
        asyncio.run(open_socket("no-such-host.invalid", 1))
