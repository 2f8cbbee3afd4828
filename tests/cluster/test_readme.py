"""The README is true: its commands run word for word, and say what it shows."""

import fcntl
import os
import pty
import re
import shlex
import signal
import socket
import struct
import subprocess
import sys
import termios
from contextlib import ExitStack
from pathlib import Path

from kmirror.cli.app import EXIT_CODES
from support.kmirror_cli import Kmirror
from support.wait import eventually

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")
EAST, WEST = "19092", "29092"


def examples(text: str) -> list[tuple[list[str], str]]:
    """Each command of the console blocks, and what is shown below it."""
    found = []
    for block in re.findall(r"^```console\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        for example in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, output = example.replace("\\\n", " ").partition("\n")
            found.append((shlex.split(command), output))
    return found


def words(text: str) -> set[str]:
    """What a text says, apart from numbers and from how it is laid out."""
    return set(re.findall(r"[A-Za-z][\w/.\"=-]*", re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\d+", " ", text)))


class Terminal:
    """Commands in a terminal of 80 columns, without colour."""

    def __init__(self, kmirror: Kmirror) -> None:
        hidden = {"COLUMNS", "LINES"}
        self._environment = {k: v for k, v in kmirror.environment.items() if k not in hidden} | {"TERM": "xterm"}
        self._started: list[subprocess.Popen[bytes]] = []

    def start(self, arguments: list[str], output: int) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, "-m", "kmirror", *arguments],
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
        self._started.append(process)
        return process

    def run(self, arguments: list[str], *, interrupt_after: str | None = None) -> tuple[int, str]:
        """Exit code and output. `interrupt_after`: Ctrl-C once this word was printed."""
        ours, theirs = pty.openpty()
        with os.fdopen(ours, "rb", buffering=0) as screen:
            fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 80, 0, 0))
            process = self.start(arguments, theirs)
            os.close(theirs)
            text = b""
            while chunk := _read(screen.fileno()):
                text += chunk
                if interrupt_after and interrupt_after.encode() in text:
                    process.send_signal(signal.SIGINT)
                    interrupt_after = None
        return process.wait(30), text.decode()

    def end(self) -> None:
        for process in self._started:
            process.send_signal(signal.SIGINT)
            process.wait(30)


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65536)
    except OSError:  # how Linux says that nobody has the terminal open any more
        return b""


def free_ports() -> tuple[str, str]:
    with socket.socket() as one, socket.socket() as other:
        for each in (one, other):
            each.bind(("127.0.0.1", 0))
        return str(one.getsockname()[1]), str(other.getsockname()[1])


def test_the_commands_run_word_for_word_and_say_what_is_shown(kmirror, tmp_path):
    (first, first_output), *rest = examples(README)
    assert first[:3] == ["kmirror", "sandbox", "up"]
    east, west = free_ports()
    terminal = Terminal(kmirror)
    log = tmp_path / "sandbox"
    with ExitStack() as stack:
        stack.callback(terminal.end)
        with log.open("wb") as output:
            sandbox = terminal.start([*first[1:], "--east-port", east, "--west-port", west], output.fileno())
        eventually(lambda: "Ready" in log.read_text() or sandbox.poll() is not None, 120, log.read_text)
        assert words(log.read_text()) >= words(first_output)
        for command, shown in rest:
            assert command[0] == "kmirror"
            given = [word.replace(EAST, east).replace(WEST, west) for word in command[1:]]
            if given[:2] == ["mirror", "describe"]:
                eventually(lambda: is_copied(kmirror), 20)
            code, said = terminal.run(given, interrupt_after="COPYING" if "--watch" in given else None)
            assert code == 0, f"{shlex.join(command)}\n{said}"
            missing = words(shown) - words(said)
            assert not missing, f"{shlex.join(command)} does not say {missing}\n{said}"
        sandbox.send_signal(signal.SIGINT)
        assert sandbox.wait(30) == 0


def is_copied(kmirror: Kmirror) -> bool:
    rows = kmirror.json("mirror", "describe", "orders", "--link", "east-west")
    return all(row["last_source_fetch_offset"] > 0 for row in rows)


def test_it_shows_the_verbs_of_the_main_job():
    commands = [" ".join(command[1:3]) for command, _ in examples(README)]
    for verb in ("link create", "mirror create", "mirror describe", "mirror promote", "link delete"):
        assert verb in commands


def test_it_opens_with_two_commands_that_the_makefile_has():
    (block,) = re.findall(r"^```sh\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    targets = re.findall(r"^make (\w+)", block, re.MULTILINE)
    assert targets == ["demo", "test"]
    makefile = (ROOT / "Makefile").read_text("utf-8")
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)
    assert f"make {targets[1]}" in (ROOT / ".ci" / "run").read_text("utf-8")


def test_its_exit_codes_are_those_of_the_program():
    rows = re.findall(r"^\| (\d+) \| (.*) \|$", README, re.MULTILINE)
    assert {int(code): meaning.replace("`", "") for code, meaning in rows} == EXIT_CODES


def test_its_links_lead_somewhere():
    targets = re.findall(r"\]\(([^):#]+)\)", README)
    assert targets
    assert [target for target in targets if not (ROOT / target).exists()] == []
