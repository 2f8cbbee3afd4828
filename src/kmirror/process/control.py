"""Asks a runner by its control socket: one JSON object a line, asked and answered. `control_server` answers."""

import contextlib
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from kmirror.model.status import LinkStatus, link_status_from
from kmirror.state.paths import Home
from kmirror.state.runtime import RunFiles

ANSWER_S: Final = 2.0
_LONGEST_ADDRESS: Final = 100  # sockaddr_un holds 108 bytes on Linux, 104 on macOS
_MOST_BYTES: Final = 64 << 20


@contextmanager
def address_of(path: Path) -> Iterator[str]:
    """An address for `path`, however deep it lies: a long one is reached through its directory's descriptor."""
    if len(os.fsencode(path)) <= _LONGEST_ADDRESS:
        yield str(path)
        return
    fd = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{fd}/{path.name}"
    finally:
        os.close(fd)


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


def is_ending(home: Home, link: str) -> bool | None:
    """Whether the runner is about to end; None where it does not answer: starting, killed or frozen, or none runs."""
    answer = _ask(RunFiles(home, link), "ending")
    return None if answer is None else bool(answer.get("ending"))  # one of an earlier version knows no such command


def last_seen(home: Home, link: str) -> LinkStatus | None:
    """What the last runner wrote before it ended; None where nothing is left of it."""
    return RunFiles(home, link).read_status()


def _ask(files: RunFiles, command: str) -> dict[str, Any] | None:
    """The runner's answer; None while it does not listen: starting, stopping or frozen."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(ANSWER_S)
        try:
            with address_of(files.socket) as address:
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
