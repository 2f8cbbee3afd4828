"""The control socket, with a server in this process: short and long paths, wrong words, silence."""

import asyncio
import json
import os
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kmirror.model.status import LinkState, LinkStatus, plain_status
from kmirror.process import control, control_server
from kmirror.process.control import is_ending, last_seen, nudge, observe
from kmirror.process.control_server import ControlServer
from kmirror.state.paths import Home
from kmirror.state.runtime import RunFiles

STATUS = LinkStatus("l", 1, 2, 3, LinkState.ACTIVE)


def short_and_long(tmp_path: Path) -> list[Home]:
    deep = tmp_path.joinpath(*["a-long-name-of-a-folder"] * 6)
    deep.mkdir(parents=True)
    return [Home(tmp_path, tmp_path / "r"), Home(deep, deep / "r")]


def served(
    home: Home, act: Callable[[RunFiles], Any], status: LinkStatus = STATUS, *, ending: bool = False
) -> tuple[Any, int]:
    """What `act` gives in a thread while a runner serves; and how often it was told to reload."""
    files = RunFiles(home, "l")
    files.create()
    reloads = []
    stray: list[dict[str, Any]] = []

    async def tell() -> LinkStatus:
        return status

    async def run() -> Any:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: stray.append(context))
        server = ControlServer(files.socket, tell, lambda: reloads.append(1), lambda: ending)
        await server.start()
        try:
            return await asyncio.to_thread(act, files)
        finally:
            await server.close()

    with files.lock as lock:
        lock.acquire("l", {"pid": os.getpid(), "started_ms": 1})
        result = asyncio.run(run())
    assert not stray
    assert not files.socket.exists()
    return result, len(reloads)


def talk(files: RunFiles, words: bytes) -> Any:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(10)
        client.connect(str(files.socket))
        client.sendall(words)
        client.shutdown(socket.SHUT_WR)
        answer = b""
        while part := client.recv(4096):
            answer += part
    return json.loads(answer)


def test_status_and_reload_by_short_and_long_paths(tmp_path: Path) -> None:
    for home in short_and_long(tmp_path):
        assert served(home, lambda _, home=home: observe(home, "l")) == (STATUS, 0)
        assert served(home, lambda _, home=home: nudge(home, "l")) == (None, 1)
    assert not list(tmp_path.glob("*.sock"))


def test_whether_it_is_ending(tmp_path: Path) -> None:
    home = Home(tmp_path, tmp_path / "r")
    for ending in (False, True):
        assert served(home, lambda _: is_ending(home, "l"), ending=ending)[0] is ending
    assert is_ending(home, "l") is None


def test_the_socket_is_its_owners_alone(tmp_path: Path) -> None:
    for home in short_and_long(tmp_path):
        assert served(home, lambda files: files.socket.stat().st_mode & 0o777) == (0o600, 0)


def test_a_socket_left_by_a_killed_runner_is_replaced(tmp_path: Path) -> None:
    home = Home(tmp_path, tmp_path / "r")
    files = RunFiles(home, "l")
    files.create()
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(files.socket))
    assert served(home, lambda _: observe(home, "l")) == (STATUS, 0)


@pytest.mark.parametrize(
    "words",
    [b"", b"\n", b"{\n", b"[]\n", b"5\n", b"null\n", b'"x"\n', b"{}\n", b'{"command": []}\n', b"x" * 9000 + b"\n"],
)
def test_wrong_words_get_an_error_and_the_server_lives(tmp_path: Path, words: bytes) -> None:
    home = Home(tmp_path, tmp_path / "r")

    def act(files: RunFiles) -> tuple[Any, LinkStatus | None]:
        try:
            answer = talk(files, words)
        except (ConnectionResetError, BrokenPipeError):  # too long: it was not read to its end
            answer = {"error": ""}
        return answer, observe(home, "l")

    (answer, after), _ = served(home, act)
    assert list(answer) == ["error"]
    assert after == STATUS


def test_no_runner_no_status_but_what_was_last_seen(tmp_path: Path) -> None:
    home = Home(tmp_path, tmp_path / "r")
    assert observe(home, "l") is None
    assert last_seen(home, "l") is None
    nudge(home, "l")
    RunFiles(home, "l").write_status(STATUS)
    assert observe(home, "l") is None
    assert last_seen(home, "l") == STATUS


def test_a_frozen_runner_is_told_by_what_it_wrote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "ANSWER_S", 0.1)
    home = Home(tmp_path, tmp_path / "r")
    files = RunFiles(home, "l")
    files.write_status(STATUS)
    with files.lock as lock, socket.socket(socket.AF_UNIX) as frozen:
        lock.acquire("l", {"pid": 1, "started_ms": 1})
        assert observe(home, "l") == STATUS  # does not listen
        frozen.bind(str(files.socket))
        frozen.listen()
        assert observe(home, "l") == STATUS  # listens, does not answer
        nudge(home, "l")


def test_a_runner_of_another_version_is_told_by_what_it_wrote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = Home(tmp_path, tmp_path / "r")
    written = replace(STATUS, pid=99)
    RunFiles(home, "l").write_status(written)
    monkeypatch.setattr(control_server, "plain_status", lambda status: plain_status(status) | {"new": 1})
    assert served(home, lambda _: observe(home, "l"))[0] == written
