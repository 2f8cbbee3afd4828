"""The control socket of a runner: one JSON object a line, asked and answered. Only its owner can open it (0600)."""

import asyncio
import contextlib
import json
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from kmirror.model.status import LinkStatus, link_status_from
from kmirror.state.paths import Home
from kmirror.state.runtime import RunFiles

_ANSWER_S: Final = 2.0
_LONGEST_ADDRESS: Final = 100  # sockaddr_un holds 108 bytes on Linux, 104 on macOS
_MOST_BYTES: Final = 64 << 20


@contextmanager
def _address(path: Path) -> Iterator[str]:
    """An address for `path`, however deep it lies: a long one is reached through its directory's descriptor."""
    if len(os.fsencode(path)) <= _LONGEST_ADDRESS:
        yield str(path)
        return
    fd = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{fd}/{path.name}"
    finally:
        os.close(fd)


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
        with _address(self._path) as address:
            self._server = await asyncio.start_unix_server(self._serve, address, limit=4096)
        self._path.chmod(0o600)

    async def close(self) -> None:
        if self._server:
            self._server.close()
            self._path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_ANSWER_S):
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


def nudge(home: Home, link: str) -> None:
    """Lets a running runner read links.toml now; it would see the change a moment later anyway."""
    files = RunFiles(home, link)
    if files.lock.holder():
        _ask(files, "reload")


def observe(home: Home, link: str) -> LinkStatus | None:
    """The status of a running runner, fresh from it; None when none runs."""
    files = RunFiles(home, link)
    if files.lock.holder() is None:
        return None
    answer = _ask(files, "status")
    if answer and "status" in answer:
        with contextlib.suppress(KeyError, TypeError, ValueError, AttributeError):  # a runner of another version
            return link_status_from(answer["status"])
    return files.read_status()


def last_seen(home: Home, link: str) -> LinkStatus | None:
    """What the last runner wrote before it ended; None where nothing is left of it."""
    return RunFiles(home, link).read_status()


def _ask(files: RunFiles, command: str) -> dict[str, Any] | None:
    """The runner's answer; None while it does not listen: starting, stopping or frozen."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(_ANSWER_S)
        try:
            with _address(files.socket) as address:
                client.connect(address)
            client.sendall(json.dumps({"command": command}).encode() + b"\n")
            data = bytearray()
            while not data.endswith(b"\n") and len(data) < _MOST_BYTES:
                received = client.recv(1 << 16)
                if not received:
                    break
                data += received
            answer: dict[str, Any] = json.loads(data)
        except (OSError, ValueError):
            return None
    return answer
