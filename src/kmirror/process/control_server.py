"""The control socket of a runner, which `control` asks. Only its owner can open it (0600)."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from kmirror.model.status import LinkStatus
from kmirror.process.control import ANSWER_S, address_of


class ControlServer:
    """Answers `status` with the status and `reload` by reading links.toml anew."""

    def __init__(self, path: Path, status: Callable[[], LinkStatus], reload: Callable[[], None]) -> None:
        self._path = path
        self._status = status
        self._reload = reload
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
            async with asyncio.timeout(ANSWER_S):
                answer = self._answer(await reader.readline())
                writer.write(json.dumps(answer).encode() + b"\n")
                await writer.drain()
        except (TimeoutError, OSError, ValueError) as e:
            writer.write(json.dumps({"error": str(e)}).encode() + b"\n")
        finally:
            writer.close()

    def _answer(self, line: bytes) -> dict[str, Any]:
        request = json.loads(line)
        command = request.get("command") if isinstance(request, dict) else None
        if command == "status":
            return {"status": asdict(self._status())}
        if command == "reload":
            self._reload()
            return {}
        raise ValueError(f"unknown command {command!r}")
