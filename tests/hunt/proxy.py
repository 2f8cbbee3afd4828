"""A proxy between the runner and one broker: it knows Kafka's frames, and cuts, delays, truncates and doubles them.

It stores each frame and passes it on whole; a fault that was armed takes the next frame that it looks for. All proxies
live in one thread with an event loop of its own; the methods of Proxy may be called from any thread.
"""

import asyncio
import socket
import struct
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from hunt.schedule import Cut, Fault, Which
from support.loop_thread import LoopThread

HOST = "127.0.0.1"
_API = {Which.PRODUCE: {0}, Which.FETCH: {1}, Which.MARKERS: {24, 26, 27}}
"""Markers, or the empty transactions that take their place."""
_DOUBLED = {0, 1}
"""Requests that may arrive twice: a network never doubles the bytes of a connection, and a marker request that did
arrive twice would be two. A Produce is protected by its sequence, and its torn bytes by its checksum."""


@dataclass(eq=False)
class _Pair:
    """One connection of the runner, and the one that it stands for."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    apis: dict[int, int] = field(default_factory=dict)
    """Correlation id to API key."""
    tasks: list["asyncio.Task[None]"] = field(default_factory=list)
    over: bool = False

    def reset(self) -> None:
        self.over = True
        _reset(self.client)
        _reset(self.server)


class Proxy:
    def __init__(self, loop: LoopThread, port: int, target: int) -> None:
        self.port = port
        self.done: Counter[str] = Counter()
        """Faults that met a frame."""
        self._target = target
        self._loop = loop
        self._pairs: set[_Pair] = set()
        self._armed: list[Fault] = []
        self._open = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        loop.call(self._start())

    # --- from any thread

    def arm(self, fault: Fault) -> None:
        self._later(lambda: self._armed.append(fault))

    def cut_all(self) -> None:
        self._later(self._cut_all)

    def hold(self) -> None:
        """Nothing passes until `release`."""
        self._later(self._open.clear)

    def release(self, *, cut: bool = False) -> None:
        def act() -> None:
            if cut:
                self._cut_all()
            self._open.set()

        self._later(act)

    def heal(self) -> None:
        def act() -> None:
            self._armed.clear()
            self._open.set()

        self._later(act)

    def close(self) -> None:
        async def end() -> None:
            self._cut_all()
            if self._server:
                self._server.close()

        self._loop.call(end())

    def _later(self, act: Callable[[], object]) -> None:
        self._loop.loop.call_soon_threadsafe(act)

    # --- in the loop

    async def _start(self) -> None:
        self._open.set()
        self._server = await asyncio.start_server(self._accept, HOST, self.port, limit=1 << 20)

    def _cut_all(self) -> None:
        for pair in list(self._pairs):
            pair.reset()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, out = await asyncio.open_connection(HOST, self._target, limit=1 << 20)
        except OSError:
            _reset(writer)
            return
        pair = _Pair(writer, out)
        self._pairs.add(pair)
        try:
            await asyncio.gather(
                self._pump(pair, reader, out, answers=False), self._pump(pair, there, writer, answers=True)
            )
        finally:
            self._pairs.discard(pair)
            for end in (writer, out):
                end.close()

    async def _pump(
        self, pair: _Pair, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, answers: bool
    ) -> None:
        try:
            while True:
                head = await reader.readexactly(4)
                frame = head + await reader.readexactly(struct.unpack(">i", head)[0])
                await self._open.wait()
                if pair.over:
                    return
                api = self._api(pair, frame, answers=answers)
                fault = self._meets(api, answers=answers)
                if fault is None:
                    writer.write(frame)
                    await writer.drain()
                else:
                    self.done[f"{fault.cut} ({'answer' if answers else 'request'}, {fault.which})"] += 1
                    await self._hurt(pair, fault, frame, writer, answers=answers)
                    return
        except (OSError, asyncio.IncompleteReadError):
            if not pair.over:
                writer.close()

    @staticmethod
    def _api(pair: _Pair, frame: bytes, *, answers: bool) -> int:
        if answers:
            return pair.apis.pop(struct.unpack_from(">i", frame, 4)[0], -1)
        api, _, correlation = struct.unpack_from(">hhi", frame, 4)
        pair.apis[correlation] = api
        return api

    def _meets(self, api: int, *, answers: bool) -> Fault | None:
        for fault in self._armed:
            if fault.answer is not answers or (fault.which is not Which.ANY and api not in _API[fault.which]):
                continue
            if not answers and fault.cut in (Cut.TWICE, Cut.TORN_TWICE) and api not in _DOUBLED:
                continue
            self._armed.remove(fault)
            return fault
        return None

    async def _hurt(
        self, pair: _Pair, fault: Fault, frame: bytes, writer: asyncio.StreamWriter, *, answers: bool
    ) -> None:
        """The end of this connection. The broker's side of it stays open for a while where its bytes shall arrive."""
        part = frame[: max(1, int(len(frame) * fault.share))]
        if fault.cut is Cut.BEFORE:
            pair.reset()
            return
        if fault.cut is Cut.LATE:
            pair.over = True
            _reset(pair.client)
            await asyncio.sleep(fault.lasts_s)
        sent = {
            Cut.MIDDLE: part,
            Cut.TRUNCATED: part,
            Cut.AFTER: frame,
            Cut.LATE: frame,
            Cut.TWICE: frame + frame,
            Cut.TORN_TWICE: part + part,
        }[fault.cut or Cut.MIDDLE]
        writer.write(sent)
        await writer.drain()
        if fault.cut is Cut.MIDDLE:
            await asyncio.sleep(0.02)
            pair.reset()
        elif fault.cut is Cut.TRUNCATED:
            pair.over = True
            pair.client.close()
            pair.server.close()
        else:
            if answers:
                await asyncio.sleep(0.02)  # the client may read it before the reset takes it away
            pair.over = True
            _reset(pair.client)
            await asyncio.sleep(1.0)
            _reset(pair.server)


def _reset(writer: asyncio.StreamWriter) -> None:
    """RST, so that what was not read yet is lost."""
    link = writer.get_extra_info("socket")
    if link is not None and link.fileno() >= 0:
        link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
