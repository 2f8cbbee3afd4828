"""A TCP transport for the plain connections of an event loop: nothing that is sent is copied on its way to the kernel.

asyncio's own transport makes a system call of each part of a request and, before Python 3.12, copies what the kernel
does not take at once. Here all parts that wait go out by one `sendmsg`, and stay where they are until they are sent.
"""

import array
import asyncio
import contextlib
import fcntl
import socket
import termios
from collections import deque
from collections.abc import Iterable
from typing import Final

from kmirror.wire import relay
from kmirror.wire.relay import Part

_LARGE_BYTES: Final = 64 << 10

MEMORY_AT_ONCE_BYTES: Final = 256 << 10
"""Of a large frame that comes to memory: fits into a core's cache until it is looked at."""


class Receiver(asyncio.BufferedProtocol):
    """A protocol that may read the socket itself.

    `awaited_bytes` are sure to come, and nobody wants to know of a part of them: the kernel wakes us when
    `at_once_bytes` are there.
    """

    @property
    def awaited_bytes(self) -> int:
        return 0

    @property
    def at_once_bytes(self) -> int:
        return MEMORY_AT_ONCE_BYTES

    def receive(self, sock: socket.socket) -> int:
        """Takes what has come; returns how many bytes, 0 at the end. Raises OSError, BlockingIOError among it."""
        count = sock.recv_into(self.get_buffer(-1))
        if count:
            self.buffer_updated(count)
        return count


class SocketTransport(asyncio.Transport):
    """Owns a connected, non-blocking socket, and drives `protocol` as asyncio's transports do.

    What is given to `write` and `writelines` must not change until it is sent; parts may be pipes.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, sock: socket.socket, protocol: Receiver) -> None:
        super().__init__({"socket": sock})
        self._loop = loop
        self._sock = sock
        self._protocol = protocol
        self._parts: deque[Part] = deque()
        self._waiting_bytes = 0
        self._most_bytes = 1 << 16
        self._paused = False
        self._closing = False
        self._reading = False
        self._wakes_at = 1
        protocol.connection_made(self)
        loop.add_reader(sock, self._on_readable)

    # --- out

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:  # noqa: ARG002
        """The protocol is paused while more than `high` bytes wait, until half of it is left."""
        self._most_bytes = 1 << 16 if high is None else high

    def get_write_buffer_size(self) -> int:
        return self._waiting_bytes

    def write(self, data: Part) -> None:
        self.writelines([data])

    def writelines(self, list_of_data: Iterable[Part]) -> None:
        if self._closing:
            return
        idle = not self._parts
        parts = tuple(list_of_data)
        self._parts += parts
        self._waiting_bytes += sum(map(len, parts))
        if idle and not self._reading:
            self._begin_to_send()
        if self._waiting_bytes > self._most_bytes and not self._paused and not self._closing:
            self._paused = True
            self._protocol.pause_writing()

    def _begin_to_send(self) -> None:
        self._send()
        if self._parts:
            self._loop.add_writer(self._sock, self._on_writable)

    def _send(self) -> None:
        """As much as the kernel takes."""
        try:
            self._waiting_bytes -= relay.send(self._sock, self._parts)
        except OSError as e:
            self._lose(e)

    def _on_writable(self) -> None:
        self._send()
        if not self._parts and not self._closing:
            self._loop.remove_writer(self._sock)
        self._resume()

    def _resume(self) -> None:
        if self._paused and self._waiting_bytes <= self._most_bytes // 2 and not self._closing:
            self._paused = False
            self._protocol.resume_writing()

    # --- in

    def _on_readable(self) -> None:
        """Several answers come together, as a rule: what is written by all of them goes out together as well."""
        idle = not self._parts
        self._reading = True
        try:
            received = self._protocol.receive(self._sock)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as e:
            self._lose(e)
            return
        finally:
            self._reading = False
            if idle and self._parts:
                self._begin_to_send()
                self._resume()
        if not received:
            self._lose(None)
            return
        if not self._closing:
            awaited = self._protocol.awaited_bytes
            self._wake_at(min(awaited, self._protocol.at_once_bytes) if awaited >= _LARGE_BYTES else 1)

    def _wake_at(self, size: int) -> None:
        """A large frame comes in few large parts: each wakes the process, and costs a turn of the event loop."""
        if size != self._wakes_at:
            self._wakes_at = size
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, size)

    @property
    def unread_bytes(self) -> int:
        """What has come and waits in the kernel: nothing, once it is closed, of which the protocol is told later."""
        if self._closing:
            return 0
        count = array.array("i", [0])
        fcntl.ioctl(self._sock, termios.FIONREAD, count)
        return count[0]

    # --- the end

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        """What waits to be sent is dropped, as by `abort`."""
        self._lose(None)

    def abort(self) -> None:
        self._lose(None)

    def _lose(self, cause: Exception | None) -> None:
        if self._closing:
            return
        self._closing = True
        self._loop.remove_reader(self._sock)
        self._loop.remove_writer(self._sock)
        self._parts.clear()
        self._waiting_bytes = 0
        self._sock.close()
        self._loop.call_soon(self._protocol.connection_lost, cause)


async def open_socket(host: str, port: int) -> socket.socket:
    """A connected, non-blocking socket to the first address of `host` that answers. Raises OSError."""
    loop = asyncio.get_running_loop()
    fault = OSError(f"{host} has no address")
    for family, kind, protocol, _, address in await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        with contextlib.ExitStack() as undo:
            try:
                sock = undo.enter_context(socket.socket(family, kind, protocol))
                sock.setblocking(False)
                await loop.sock_connect(sock, address)
            except OSError as e:
                fault = e
            else:
                undo.pop_all()
                return sock
    raise fault
