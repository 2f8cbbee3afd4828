"""One TCP connection to a broker: frames out, frames in, answers in the order of the requests.

A large frame is received straight into one buffer, so that the record batches inside can be patched in place and sent
on without a copy. Requests other than Fetch and Produce are packed and read by kafka-python's codecs.
"""

import asyncio
import contextlib
import random
import socket
import struct
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any, Final, NamedTuple, Protocol, cast

from kmirror.errors import ClusterError
from kmirror.wire.answers import reading
from kmirror.wire.buffers import BufferPool
from kmirror.wire.errors import ConnectionLost, ProtocolError, UnsupportedVersion, WrongProtocol
from kmirror.wire.fetch_reader import FetchReader
from kmirror.wire.relay import Part
from kmirror.wire.transport import MEMORY_AT_ONCE_BYTES, Receiver, SocketTransport

CLIENT_ID: Final = b"kmirror"
MAX_FRAME_BYTES: Final = 256 << 20  # a fetch is bounded by its own limits plus one batch; this is a bound for nonsense
_INBOX_BYTES: Final = 4096  # the most of a large frame that is copied; small ones come whole, several at a time
_WRITE_BUFFER_BYTES: Final = 4 << 20
_LENGTH: Final = struct.Struct(">i")
_HEADER: Final = struct.Struct(">hhih")
_TLS_ALERT: Final = b"\x15\x03"
_LOOK_S: Final = 1.0
_RENEW_AT: Final = (0.85, 0.95)
"""Between these parts of a session's life it is renewed, as Kafka's own clients do it (SaslClientAuthenticator)."""


class Asker(Protocol):
    """Who waits for an answer: a future, or what takes it at once. An answer is a frame, or why there is none."""

    def done(self) -> bool: ...
    def set_result(self, frame: memoryview, /) -> None: ...
    def set_exception(self, error: Exception, /) -> None: ...


class _Request(NamedTuple):
    header: tuple[int, int]
    parts: Sequence[Part]
    flexible: bool
    asker: Asker
    deadline: float
    reader: FetchReader | None


class _Waiting(NamedTuple):
    correlation: int
    asker: Asker
    deadline: float
    reader: FetchReader | None


class Connection(Receiver):
    """Made by `dial.connect`. Every request has a deadline: a broker that misses one loses the whole connection."""

    def __init__(self, name: str, buffers: BufferPool) -> None:
        self.name = name
        self.versions: dict[int, tuple[int, int]] = {}
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._correlation = 0
        self._waiting: deque[_Waiting] = deque()
        self._buffers = buffers
        self._inbox = memoryview(bytearray(_INBOX_BYTES))
        self._body: memoryview | None = None
        self._reader: FetchReader | None = None  # of the body
        self._received = 0  # bytes of the body, or in the inbox while there is none
        self._paused = False  # by the transport
        self._writable = asyncio.Event()
        self._writable.set()
        self._watch: asyncio.TimerHandle | None = None
        self.fault: Exception | None = None
        """What ended it, where the transport told."""
        self.broke = False
        """It ended otherwise than idle ones do, which brokers close after a while (connections.max.idle.ms)."""
        self._held: list[_Request] | None = None
        self._renewal: asyncio.TimerHandle | None = None
        self._renewing: asyncio.Task[None] | None = None
        self._quiet_until = 0.0
        self._seen_of_body = (0, 0)
        self.silent_s = 0.0
        """For how long nothing has come while one and the same request waited; as of the last look, once a second."""
        self._awaited = -1

    # --- the transport's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        sock = self._transport.get_extra_info("socket")
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        _watch_peer(sock)
        self._transport.set_write_buffer_limits(_WRITE_BUFFER_BYTES)

    def pause_writing(self) -> None:
        self._paused = True
        self._writable.clear()

    def resume_writing(self) -> None:
        self._paused = False
        if self._held is None:
            self._writable.set()

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002
        return (self._inbox if self._body is None else self._body)[self._received :]

    @property
    def awaited_bytes(self) -> int:
        return 0 if self._body is None else len(self._body) - self._received

    @property
    def at_once_bytes(self) -> int:
        return self._reader.at_once_bytes if self._reader else MEMORY_AT_ONCE_BYTES

    def receive(self, sock: socket.socket) -> int:
        if self._reader is None:
            return super().receive(sock)
        count = self._reader.receive(sock)
        if count:
            self.buffer_updated(count)
        return count

    def buffer_updated(self, nbytes: int) -> None:
        self._received += nbytes
        if self._body is None:
            self._read_inbox()
        elif self._received == len(self._body):
            frame = self._reader.end() if self._reader else self._body
            self._body, self._received, self._reader = None, 0, None
            self._answered(frame)

    def _read_inbox(self) -> None:
        """Takes the whole frames out of the inbox, and begins a body with one that is not."""
        have = self._inbox[: self._received]
        while len(have) >= _LENGTH.size and self.alive:
            size = _LENGTH.unpack_from(have)[0]
            if not 4 <= size <= MAX_FRAME_BYTES:
                if bytes(have[:2]) == _TLS_ALERT:
                    self._fail(WrongProtocol(f"{self.name} speaks TLS", 'Set "security.protocol" to SSL or SASL_SSL.'))
                    return
                self._fail(ProtocolError(f"{self.name} sent a frame of {size} bytes"))
                return
            have = have[_LENGTH.size :]
            if size > len(have):
                self._body, self._received = self._buffers.take(size), len(have)
                self._body[: len(have)] = have
                self._reader = self._waiting[0].reader if self._waiting and self.takes_pipes else None
                if self._reader:
                    self._reader.begin(self._body, self._received)
                return
            self._answered(memoryview(bytearray(have[:size])))
            have = have[size:]
        self._inbox[: len(have)] = bytes(have)
        self._received = len(have)

    def _answered(self, frame: memoryview) -> None:
        if not self._waiting:
            self._fail(ProtocolError(f"{self.name} answered what was not asked"))
            return
        correlation, asker, _, _ = self._waiting.popleft()
        if _LENGTH.unpack_from(frame)[0] != correlation:
            self._waiting.appendleft(_Waiting(correlation, asker, 0.0, None))
            self._fail(ProtocolError(f"{self.name} answered out of order"))
        elif not asker.done():
            asker.set_result(frame)

    def connection_lost(self, exc: Exception | None) -> None:
        self.fault = exc
        self.broke = self.broke or exc is not None or bool(self._waiting)
        self._over(ConnectionLost(f"connection to {self.name} lost" + (f": {exc}" if exc else "")))

    # --- our side

    @property
    def alive(self) -> bool:
        return self._transport is not None

    @property
    def is_awaited(self) -> bool:
        """An answer is due on it."""
        return bool(self._waiting)

    @property
    def takes_pipes(self) -> bool:
        """Parts of a request may be pipes, and a reader may lead answers into some: not where all is encrypted."""
        return isinstance(self._transport, SocketTransport)

    def close(self) -> None:
        """Ends the connection with a reset, so that the kernel sends nothing late; what waits gets ConnectionLost."""
        self._fail(ConnectionLost(f"connection to {self.name} closed"))

    def give_up(self, why: str) -> None:
        """As `close`; who waits is told why."""
        self._fail(ConnectionLost(f"connection to {self.name} closed: {why}"))

    def _fail(self, error: Exception) -> None:
        if self._transport is not None:
            self.broke = True
            sock = self._transport.get_extra_info("socket")
            with contextlib.suppress(OSError):  # already disconnected: nothing can be sent late then
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._transport.abort()
        self._over(error)

    def _over(self, error: Exception) -> None:
        self._transport = None
        self._paused = False
        self._writable.set()
        if self._watch:
            self._watch.cancel()
            self._watch = None
        if self._renewal:
            self._renewal.cancel()
        if self._reader:
            self._reader.give_up()
        self._body, self._received, self._reader = None, 0, None
        waiting = [waiting.asker for waiting in self._waiting] + [request.asker for request in self._held or ()]
        self._waiting.clear()
        if self._held:
            self._held.clear()
        for asker in waiting:
            if not asker.done():
                asker.set_exception(error)

    def _check_deadlines(self) -> None:
        self._watch = None
        so_far = (id(self._body), self._received + self._unread_bytes()) if self._body is not None else (0, 0)
        comes = so_far not in {(0, 0), self._seen_of_body}  # over a narrow way an answer may take its time
        self._seen_of_body = so_far
        awaited = self._waiting[0][0] if self._waiting else -1
        excused = awaited != self._awaited or comes or self._loop.time() < self._quiet_until
        self.silent_s = 0.0 if not self._waiting or excused else self.silent_s + _LOOK_S
        self._awaited = awaited
        if self._waiting and self._loop.time() > self._waiting[0][2] > 0 and not comes:
            self._fail(ConnectionLost(f"{self.name} did not answer in time"))
        elif self._waiting:
            self._watch = self._loop.call_later(_LOOK_S, self._check_deadlines)

    def _unread_bytes(self) -> int:
        """A slow way may take seconds until there is enough for the kernel to wake us."""
        return self._transport.unread_bytes if isinstance(self._transport, SocketTransport) else 0

    def send(
        self,
        api_key: int,
        version: int,
        parts: Sequence[Part],
        *,
        flexible: bool,
        timeout: float,
        pass_gate: bool = False,
        reader: FetchReader | None = None,
    ) -> "asyncio.Future[memoryview]":
        """Writes one request; the future gives the answer's frame, which begins with the correlation id.

        Raises ConnectionLost at once, or the future does. `timeout` in seconds, counted from now. While the connection
        is authenticated anew (`writes_now` is False) it is written after that, unless it is to `pass_gate`. The answer
        is received by `reader`, if it is large and the connection a plain one.
        """
        future: asyncio.Future[memoryview] = self._loop.create_future()
        deadline = self._loop.time() + timeout
        self._begin(_Request((api_key, version), parts, flexible, future, deadline, reader), pass_gate=pass_gate)
        return future

    def send_for(
        self, asker: Asker, api_key: int, version: int, parts: Sequence[Part], *, flexible: bool, timeout: float
    ) -> None:
        """As `send`, with an asker of one's own."""
        self._begin(_Request((api_key, version), parts, flexible, asker, self._loop.time() + timeout, None))

    def _begin(self, request: _Request, *, pass_gate: bool = False) -> None:
        if self._transport is None:
            raise ConnectionLost(f"not connected to {self.name}")
        if self._held is not None and not pass_gate:
            self._held.append(request)
        else:
            self._write(request)

    def _write(self, request: _Request) -> None:
        assert self._transport is not None
        self._correlation = (self._correlation + 1) & 0x7FFFFFFF
        self._waiting.append(_Waiting(self._correlation, request.asker, request.deadline, request.reader))
        header = _HEADER.pack(*request.header, self._correlation, len(CLIENT_ID)) + CLIENT_ID
        if request.flexible:
            header += b"\0"  # no tagged fields
        size = len(header) + sum(map(len, request.parts))
        head = _LENGTH.pack(size) + header
        first, rest = request.parts[0], request.parts[1:]
        parts: tuple[Part, ...] = (head + first, *rest) if isinstance(first, bytes) else (head, first, *rest)
        frame: Any = parts  # asyncio's transports know no pipes
        self._transport.writelines(frame)
        if self._watch is None:
            self._watch = self._loop.call_later(_LOOK_S, self._check_deadlines)

    def throttled(self, ms: int) -> None:
        """A broker's answer said that it will read nothing from us for so long (KIP-219: `throttle_time_ms`).

        What is under way is not late by that.
        """
        if ms <= 0:
            return
        self._quiet_until = max(self._quiet_until, self._loop.time() + ms / 1000)
        self._waiting = deque(w._replace(deadline=w.deadline + ms / 1000) for w in self._waiting)

    async def unthrottled(self) -> None:
        """Waits until the broker reads again: what was sent earlier would come to it late."""
        left = self._quiet_until - self._loop.time()
        while left > 0 and self.alive:
            await asyncio.sleep(min(left, 0.5))  # it may be lost meanwhile
            left = self._quiet_until - self._loop.time()

    async def drain(self) -> None:
        """Waits until the kernel has taken enough of what was written, and requests are written at once."""
        await self._writable.wait()

    @property
    def writes_now(self) -> bool:
        """False while requests wait for a new authentication."""
        return self._held is None

    @property
    def takes_more(self) -> bool:
        """Neither `unthrottled` nor `drain` would wait."""
        return self.alive and self._writable.is_set() and self._loop.time() >= self._quiet_until

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Requests that don't `pass_gate` wait until the end: while it is told who we are a broker takes nothing else.

        What raises inside ends the connection.
        """
        self._held = []
        self._writable.clear()
        try:
            yield
        except BaseException as e:
            why = f": {e.message}" if isinstance(e, ClusterError) else ""
            self._fail(ConnectionLost(f"connection to {self.name} closed{why}"))
            raise
        finally:
            held, self._held = self._held, None
            if not self._paused:
                self._writable.set()
        for request in held:
            self._write(request)

    def renew_within(self, lifetime_s: float, authenticate: Callable[[], Awaitable[float]]) -> None:
        """Has `authenticate`, which returns the next lifetime, called before this one ends (KIP-368); 0 has no end."""
        if lifetime_s > 0 and self.alive:
            due_s = lifetime_s * random.uniform(*_RENEW_AT)
            self._renewal = self._loop.call_later(due_s, self._begin_renewal, authenticate)

    def _begin_renewal(self, authenticate: Callable[[], Awaitable[float]]) -> None:
        self._renewing = self._loop.create_task(self._renew(authenticate))

    async def _renew(self, authenticate: Callable[[], Awaitable[float]]) -> None:
        try:
            lifetime_s = await authenticate()
        except ClusterError as e:  # whoever connects next is told
            self._fail(ConnectionLost(f"connection to {self.name} closed: {e.message}"))
        else:
            self.renew_within(lifetime_s, authenticate)

    def version_of(self, api_key: int, least: int, most: int) -> int:
        """The highest version in [least, most] that the broker has; raises UnsupportedVersion."""
        low, high = self.versions.get(api_key, (0, -1))
        version = min(most, high)
        if version < max(least, low):
            raise UnsupportedVersion(
                f"{self.name} speaks versions {low} to {high} of request {api_key}, kmirror {least} to {most}",
                hint="kmirror needs Apache Kafka 2.8 or later on both sides.",
            )
        return version

    async def call(
        self, request: Any, response: Any, version: int, *, timeout: float = 10.0, pass_gate: bool = False
    ) -> Any:
        """One request by kafka-python's codecs; returns the decoded response. Raises ConnectionLost.

        The broker's quotas are kept to: by waiting before, and by remembering what the answer says.
        """
        await self.unthrottled()
        flexible = request.flexible_version_q(version)
        body = request.encode(version=version)
        frame = await self.send(
            request.API_KEY, version, [body], flexible=flexible, timeout=timeout, pass_gate=pass_gate
        )
        with reading(self, f"request {request.API_KEY}"):
            answer = response.decode(bytes(frame), version=version, header=True)
        self.throttled(getattr(answer, "throttle_time_ms", None) or 0)
        return answer


def _watch_peer(sock: socket.socket) -> None:
    """A machine or a way that is gone is noticed in a dozen seconds; a frozen process is not: its kernel answers."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", 5), ("TCP_KEEPINTVL", 2), ("TCP_KEEPCNT", 3), ("TCP_USER_TIMEOUT", 12_000)):
        option = getattr(socket, name, None)  # not every system has all of them
        if option is not None:
            sock.setsockopt(socket.IPPROTO_TCP, option, value)
