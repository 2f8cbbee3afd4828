"""A long, narrow or broken way to a broker: a relay of bytes that delays them, meters them, drops or cuts connections.

It knows nothing of frames (support.proxy does), so that it is no bottleneck itself. What is set holds at once.
"""

import asyncio
import random
import socket
import struct
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from kmirror.sandbox import KafkaRuntime
from support.loop_thread import LoopThread
from support.proxy import HOST, ProxiedCluster, Proxy

_CHUNK = 256 << 10
_ON_THE_WAY = 64 << 20  # of one direction of a connection: more than any window


@dataclass
class Conditions:
    """`delay_s` and up to `jitter_s` more each way; `bytes_per_s` each way, of all connections together."""

    delay_s: float = 0.0
    jitter_s: float = 0.0
    bytes_per_s: float = float("inf")
    cut_share: float = 0.0
    """Of the connections, each second."""
    black_hole: bool = False
    """Nothing arrives any more, and nobody is told; new connections are taken, and stay silent."""


class _Way:
    """One direction of one connection: bytes arrive in order, each not before its time."""

    def __init__(self, network: "Network", to: asyncio.StreamWriter, meter: "_Meter") -> None:
        self._network = network
        self._to = to
        self._meter = meter
        self._chunks: deque[tuple[float, bytes]] = deque()
        self._held = 0
        self._last = 0.0
        self._changed = asyncio.Event()
        self._over = False
        self.silent = False
        """What comes is dropped, and that it ends is not told."""

    async def take(self, reader: asyncio.StreamReader) -> None:
        loop = asyncio.get_running_loop()
        while data := await self._read(reader):
            at = self._network.conditions
            due = self._meter.pass_by(len(data), at.bytes_per_s, loop.time())
            self._last = max(self._last, due + at.delay_s + random.uniform(0, at.jitter_s))
            self._chunks.append((self._last, data))
            self._held += len(data)
            self._changed.set()
            while self._held > _ON_THE_WAY:
                self._changed.clear()
                await self._changed.wait()
        self._over = not self.silent
        self._changed.set()

    @staticmethod
    async def _read(reader: asyncio.StreamReader) -> bytes:
        try:
            return await reader.read(_CHUNK)
        except OSError:
            return b""

    async def give(self) -> None:
        loop = asyncio.get_running_loop()
        while self._chunks or not self._over:
            if not self._chunks:
                self._changed.clear()
                await self._changed.wait()
                continue
            due, data = self._chunks[0]
            if (wait := due - loop.time()) > 0:
                await asyncio.sleep(wait)
            await self._network.open.wait()
            self._chunks.popleft()
            self._held -= len(data)
            self._changed.set()
            if not self.silent:
                self._to.write(data)
                await self._to.drain()


class _Meter:
    def __init__(self) -> None:
        self._free_at = 0.0

    def pass_by(self, size: int, bytes_per_s: float, now: float) -> float:
        """When `size` bytes are through."""
        self._free_at = max(self._free_at, now) + size / bytes_per_s
        return self._free_at


@dataclass(eq=False)
class _Pair:
    client: asyncio.StreamWriter
    broker: asyncio.StreamWriter
    ways: tuple[_Way, _Way]


class Network:
    """From `port` to `target`, in a thread of its own."""

    def __init__(self, port: int, target: int) -> None:
        self.conditions = Conditions()
        self.cuts = 0
        self._port = port
        self._target = target
        self._thread = LoopThread("network")
        self._loop = self._thread.loop
        self._pairs: set[_Pair] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._meters = (_Meter(), _Meter())

    def __enter__(self) -> Self:
        self._thread.start()
        self._server = self._thread.call(self._start(), 10)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._server.close)
        self._thread.close()

    def set(self, conditions: Conditions) -> None:
        """From now on; `Conditions()` is a network as it should be."""

        def act() -> None:
            self.conditions = conditions
            (self.open.clear if conditions.black_hole else self.open.set)()

        self._loop.call_soon_threadsafe(act)

    def cut_all(self) -> None:
        """Every connection is reset, at both ends."""
        self._loop.call_soon_threadsafe(self._cut_if, 1.0)

    def half_open(self) -> None:
        """The broker's end of each connection is gone, and ours is not told."""

        def act() -> None:
            for pair in self._pairs:
                for way in pair.ways:
                    way.silent = True
                _reset(pair.broker)

        self._loop.call_soon_threadsafe(act)

    async def _start(self) -> asyncio.Server:
        self.open = asyncio.Event()
        self.open.set()
        self._keep(self._loop.create_task(self._cut()))
        return await asyncio.start_server(self._accept, HOST, self._port, limit=_CHUNK)

    def _keep(self, task: "asyncio.Task[None]") -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _cut(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            self._cut_if(self.conditions.cut_share)

    def _cut_if(self, share: float) -> None:
        for pair in self._pairs:
            if random.random() < share:
                self.cuts += 1
                _reset(pair.client)
                _reset(pair.broker)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._keep(self._loop.create_task(self._serve(reader, writer)))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self.open.wait()
        try:
            there, out = await asyncio.open_connection(HOST, self._target, limit=_CHUNK)
        except OSError:
            _reset(writer)
            return
        forth, back = _Way(self, out, self._meters[0]), _Way(self, writer, self._meters[1])
        pair = _Pair(writer, out, (forth, back))
        self._pairs.add(pair)
        parts = [
            asyncio.ensure_future(work) for work in (forth.give(), back.give(), forth.take(reader), back.take(there))
        ]
        try:
            await asyncio.wait(parts[:2], return_when=asyncio.FIRST_COMPLETED)  # all that came has arrived
        finally:
            self._pairs.discard(pair)
            for part in parts:
                part.cancel()
            await asyncio.gather(*parts, return_exceptions=True)
            _reset(writer)
            _reset(out)


def _reset(writer: asyncio.StreamWriter) -> None:
    link = writer.get_extra_info("socket")
    if link is not None and link.fileno() >= 0:
        link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


class FarCluster(ProxiedCluster):
    """One broker, reached through a `network`, and by that through a `proxy` if `frames` shall be cut."""

    def __init__(
        self,
        name: str,
        directory: Path,
        runtime: KafkaRuntime,
        *,
        properties: Mapping[str, str],
        frames: bool = False,
    ) -> None:
        super(ProxiedCluster, self).__init__(name, directory, runtime, properties=properties)
        self._front, middle, self._back = self._held.choose(3)
        self.proxied_servers = f"{HOST}:{self._front}"
        self._frames = frames
        self.network = Network(self._front, middle if frames else self._back)
        if frames:
            self.proxy = Proxy(middle, self._back)

    def __enter__(self) -> Self:
        super(ProxiedCluster, self).__enter__()
        if self._frames:
            self.proxy.__enter__()
        self.network.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.network.__exit__(kind, error, trace)
        if self._frames:
            self.proxy.__exit__(kind, error, trace)
        super(ProxiedCluster, self).__exit__(kind, error, trace)
