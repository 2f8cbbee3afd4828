"""A TCP proxy before a broker, which only kmirror's connections pass: one fault at a time, at a chosen frame.

It passes each request and answer on whole, in order. An armed Fault takes the first frame it looks for: it can call
back before the frame passes, pass only a part, pass it late to a broker whose client is gone, and cut the connection.
"""

import asyncio
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from kmirror.sandbox import KafkaCluster, kafka_runtime
from kmirror.sandbox.settings import broker_properties
from support.loop_thread import LoopThread

HOST = "127.0.0.1"
MARKERS = 27
"""WriteTxnMarkers."""
_CHUNK = 64 << 10
_LINGER_S = 0.05  # so that bytes that were written arrive before a reset takes them away


@dataclass
class Fault:
    """What happens to the next frame of `api`, a request unless `answer`.

    `share` of its bytes pass, after `before` was called. With `late_s` the client's connection is reset first, and the
    bytes reach the broker so much later. `cut`: then both connections are reset. `silent`: instead of that all that
    comes that way is thrown away from then on, and neither end is told. With `frames` the ones behind it, so many in
    all, share its fate: it is waited for until they are there.
    """

    api: int = MARKERS
    answer: bool = False
    share: float = 1.0
    upto: int | None = None
    """Instead of a share: so many bytes, counted from the end where negative."""
    late_s: float | None = None
    frames: int = 1
    cut: bool = True
    silent: bool = False
    before: Callable[[], None] | None = None
    met: threading.Event = field(default_factory=threading.Event)
    """Set when all of it is done."""


class _Awaited:
    """The requests of one connection that are not answered. `none` is set while there are none."""

    def __init__(self) -> None:
        self.none = asyncio.Event()
        self._apis: dict[int, int] = {}

    def asked(self, request: bytes) -> int:
        """Returns the api."""
        api, _, correlation = struct.unpack_from(">hhi", request, 4)
        self._apis[correlation] = api
        self.none.clear()
        return int(api)

    def answered(self, frame: bytes) -> int:
        """Returns the api of the request, -1 if there was none."""
        api = self._apis.pop(struct.unpack_from(">i", frame, 4)[0], -1)
        if not self._apis:
            self.none.set()
        return api

    def waits_for(self, api: int) -> bool:
        return api in self._apis.values()


class Proxy:
    """Listens on `port` and passes on to `target`, in a thread of its own. `requests` counts them by api.

    `at_once`: over how many connections at most there were some of an api on their way at a time.
    """

    def __init__(self, port: int, target: int) -> None:
        self.requests: Counter[int] = Counter()
        self.at_once: Counter[int] = Counter()
        self._all_awaited: set[_Awaited] = set()
        self._target = target
        self._port = port
        self._armed: Fault | None = None
        self._thread = LoopThread("proxy")
        self._loop = self._thread.loop
        self._tasks: set[asyncio.Task[None]] = set()

    def __enter__(self) -> Self:
        self._thread.start()
        self._server = self._thread.call(self._start(), 10)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._server.close)
        self._thread.close()

    def arm(self, fault: Fault) -> Fault:
        """Instead of what was armed before."""
        self._loop.call_soon_threadsafe(lambda: setattr(self, "_armed", fault))
        return fault

    async def _start(self) -> asyncio.Server:
        return await asyncio.start_server(self._accept, HOST, self._port)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = self._loop.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, out = await asyncio.open_connection(HOST, self._target)
        except OSError:
            _reset(writer)
            return
        awaited = _Awaited()
        self._all_awaited.add(awaited)
        pumps = [
            asyncio.ensure_future(self._pump(reader, out, writer, awaited, answers=False)),
            asyncio.ensure_future(self._pump(there, writer, out, awaited, answers=True)),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._all_awaited.discard(awaited)
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            _reset(writer)
            _reset(out)

    async def _pump(
        self,
        reader: asyncio.StreamReader,
        onward: asyncio.StreamWriter,
        back: asyncio.StreamWriter,
        awaited: _Awaited,
        *,
        answers: bool,
    ) -> None:
        """Until the connection ends, by itself or by a fault."""
        while True:
            frame = await _frame(reader)
            api = awaited.answered(frame) if answers else self._asked(frame, awaited)
            fault = self._armed
            if fault is None or (fault.api, fault.answer) != (api, answers):
                if onward.is_closing():  # what comes late is answered to nobody
                    continue
                onward.write(frame)
                await onward.drain()
                continue
            self._armed = None
            if fault.cut or fault.late_s is not None:
                self._all_awaited.discard(awaited)  # what waits there is answered no more
            for _ in range(1, fault.frames):
                behind = await _frame(reader)
                self._asked(behind, awaited)
                frame += behind
            await asyncio.shield(self._happen(fault, frame, onward, back, awaited))
            if fault.silent:
                while await reader.read(_CHUNK):
                    pass
                await asyncio.Event().wait()  # not even that it ends is told
            if fault.cut or fault.late_s is not None:
                return

    def _asked(self, request: bytes, awaited: _Awaited) -> int:
        api = awaited.asked(request)
        self.requests[api] += 1
        self.at_once[api] = max(self.at_once[api], sum(some.waits_for(api) for some in self._all_awaited))
        return api

    async def _happen(
        self,
        fault: Fault,
        frame: bytes,
        onward: asyncio.StreamWriter,
        back: asyncio.StreamWriter,
        awaited: _Awaited,
    ) -> None:
        if fault.before:
            await self._loop.run_in_executor(None, fault.before)
        if fault.late_s is not None:
            _reset(back)
            await asyncio.sleep(fault.late_s)
        onward.write(frame[: int(len(frame) * fault.share) if fault.upto is None else fault.upto])
        await onward.drain()
        await asyncio.sleep(_LINGER_S)
        if fault.frames > 1:  # they land one by one
            await awaited.none.wait()
        fault.met.set()


async def _frame(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readexactly(4)
    return head + await reader.readexactly(struct.unpack(">i", head)[0])


def _reset(writer: asyncio.StreamWriter) -> None:
    link = writer.get_extra_info("socket")
    if link is not None and link.fileno() >= 0:
        link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


class ProxiedCluster(KafkaCluster):
    """One broker with a second listener whose advertised address is a proxy's.

    `bootstrap_servers` leads past the proxy, for the tests themselves; `proxied_servers` is for the link.
    """

    def __init__(self, name: str, directory: Path, version: str | None = None) -> None:
        super().__init__(name, directory, kafka_runtime(version) if version else kafka_runtime())
        self._front, self._back = self._held.choose(2)
        self.proxied_servers = f"{HOST}:{self._front}"
        self.proxy = Proxy(self._front, self._back)

    def prepare(self) -> None:
        self._properties = {
            **self._properties,
            **self._listeners(),
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,PROXIED:PLAINTEXT",
        }
        super().prepare()

    def _listeners(self) -> dict[str, str]:
        (broker,) = self._brokers
        known = broker_properties(broker.node, self._nodes, broker.data, {})
        return {
            "listeners": f"{known['listeners']},PROXIED://{HOST}:{self._back}",
            "advertised.listeners": f"{known['advertised.listeners']},PROXIED://{HOST}:{self._front}",
        }

    def __enter__(self) -> Self:
        super().__enter__()
        self.proxy.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.proxy.__exit__(kind, error, trace)
        super().__exit__(kind, error, trace)
