"""What a runner and one of its workers say to each other, over a pair of sockets that nobody else has."""

import asyncio
import contextlib
import pickle
import socket
import struct
from typing import Any, Final

_LENGTH: Final = struct.Struct(">I")


class Channel:
    """Messages arrive in the order in which they were sent, or the other end is gone."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def over(cls, end: socket.socket) -> "Channel":
        return cls(*await asyncio.open_unix_connection(sock=end))

    def send(self, message: object) -> None:
        """Waits for nothing. To an end that is gone it goes nowhere: whoever receives from there is told."""
        if not self._writer.is_closing():
            data = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
            self._writer.write(_LENGTH.pack(len(data)) + data)

    async def receive(self) -> Any:
        """The next message; None when the other end is gone."""
        try:
            (length,) = _LENGTH.unpack(await self._reader.readexactly(_LENGTH.size))
            data = await self._reader.readexactly(length)
        except (asyncio.IncompleteReadError, OSError):
            return None
        return pickle.loads(data)  # noqa: S301  # from our own process, by a socket that has no name

    async def close(self) -> None:
        """Once all that was sent is with the kernel."""
        with contextlib.suppress(OSError):
            await self._writer.drain()
            self._writer.close()
            await self._writer.wait_closed()
