"""State that is not ours is refused: symbolic links, and what belongs to others."""

import asyncio
import json
import os
import socket

import pytest

from kmirror.cli.app import main
from kmirror.errors import StateError
from kmirror.process.control_server import ControlServer
from kmirror.state.links import LinkStore
from kmirror.state.lock import exclusive
from kmirror.state.ours import check_ours
from kmirror.state.paths import Home, private_directory
from support.recorded import a_link, store


@pytest.fixture
def home(tmp_path):
    found = Home(tmp_path / "home", tmp_path / "home" / "run")
    store(found, a_link("east-west"))
    return found


def test_a_linked_file_of_links_is_refused(home, tmp_path, monkeypatch, capsys):
    real = tmp_path / "elsewhere.toml"
    home.links_file.rename(real)
    home.links_file.symlink_to(real)
    before = real.read_bytes()
    with pytest.raises(StateError, match="is a symbolic link"):
        LinkStore(home).all()
    monkeypatch.setenv("KMIRROR_HOME", str(home.config))
    assert main(["link", "list"]) == 1
    assert "is a symbolic link" in capsys.readouterr().err
    assert real.read_bytes() == before


def test_a_linked_lock_is_refused(tmp_path):
    (tmp_path / "target").write_text("untouched")
    (tmp_path / "lock").symlink_to(tmp_path / "target")
    with pytest.raises(StateError, match="is a symbolic link"), exclusive(tmp_path / "lock"):
        pass
    assert (tmp_path / "target").read_text() == "untouched"


def test_what_belongs_to_somebody_else_is_refused(home, monkeypatch):
    owner = home.links_file.stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    if owner == 0:
        check_ours(home.links_file)  # root may have made it
        os.chown(home.links_file, 12345, -1)
        os.chown(home.config, 12345, -1)
    with pytest.raises(StateError, match="belongs to another user"):
        LinkStore(home).all()
    with pytest.raises(StateError, match="belongs to another user"):
        private_directory(home.config)


def test_a_home_that_is_a_link_to_a_folder_of_ours_is_fine(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "home").symlink_to(tmp_path / "real")
    assert private_directory(tmp_path / "home") == tmp_path / "home"


@pytest.mark.parametrize("ours", [True, False])
def test_a_control_socket_answers_its_owner_alone(tmp_path, monkeypatch, ours):
    async def run():
        server = ControlServer(tmp_path / "control.sock", lambda: None, lambda: None, lambda: False)
        await server.start()
        assert (tmp_path / "control.sock").stat().st_mode & 0o777 == 0o600
        if not ours:
            monkeypatch.setattr("kmirror.process.control_server._PEER", Stranger())
        reader, writer = await asyncio.open_unix_connection(tmp_path / "control.sock")
        writer.write(json.dumps({"command": "reload"}).encode() + b"\n")
        try:
            return await reader.read()
        except ConnectionResetError:  # what was asked was not even read
            return b""
        finally:
            writer.close()
            await server.close()

    assert asyncio.run(run()) == (b"{}\n" if ours else b"")


class Stranger:
    """What the kernel would tell of another user's process."""

    size = 12

    def unpack(self, _found):
        assert hasattr(socket, "SO_PEERCRED")
        return 1, 54321, 54321
