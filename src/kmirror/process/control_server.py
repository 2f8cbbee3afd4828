"""The control socket of a runner, which `control` asks. Only its owner can open it (0600)."""

import asyncio
import json
import os
import socket
import struct
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

from kmirror.model.status import LinkStatus, plain_status
from kmirror.process.control import ANSWER_S, address_of


class ControlServer:
    """Answers `status` with the status, `reload` by reading links.toml anew, `ending` by whether the runner is."""

    def __init__(
        self,
        path: Path,
        status: Callable[[], Awaitable[LinkStatus]],
        reload: Callable[[], None],
        ending: Callable[[], bool],
    ) -> None:
        self._path = path
        self._status = status
        self._reload = reload
        self._ending = ending
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Raises OSError."""
        self._path.unlink(missing_ok=True)  # of a runner that was killed: the lock says that it is gone
        with address_of(self._path) as address:
            self._server = await asyncio.start_unix_server(self._serve, address, limit=4096)
        self._path.chmod(0o600)

    async def close(self) -> None:
        if self._server:
            self._server.close()
            self._path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if not _is_ours(writer.get_extra_info("socket")):
                return
            async with asyncio.timeout(ANSWER_S):
                answer = await self._answer(await reader.readline())
                writer.write(json.dumps(answer).encode() + b"\n")
                await writer.drain()
        except (TimeoutError, OSError, ValueError) as e:
            writer.write(json.dumps({"error": str(e)}).encode() + b"\n")
        finally:
            writer.close()

    async def _answer(self, line: bytes) -> dict[str, Any]:
        request = json.loads(line)
        command = request.get("command") if isinstance(request, dict) else None
        if command == "status":
            return {"status": plain_status(await self._status())}
        if command == "reload":
            self._reload()
            return {}
        if command == "ending":
            return {"ending": self._ending()}
        raise ValueError(f"unknown command {command!r}")


_PEER: Final = struct.Struct("3i")
"""pid, uid and gid of who asks (ucred, see unix(7))."""


def _is_ours(peer: socket.socket) -> bool:
    """Whether who asks is the runner's own user, or root; the socket's mode alone says it where the kernel does not."""
    if not hasattr(socket, "SO_PEERCRED"):
        return True
    _, uid, _ = _PEER.unpack(peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))
    return uid in {os.geteuid(), 0}
