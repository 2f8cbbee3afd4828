"""Commands as they are typed into a terminal, and what they say there."""

import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
from pathlib import Path

from support.kmirror_cli import Kmirror

_MEASURED = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\d[\d.,]*( ?(ms|s|min|h|d|[kM]?B/s|/s)\b)?")
"""Escapes of the terminal, and numbers with their unit: a busy machine is late by seconds, not by milliseconds."""


def words(text: str) -> set[str]:
    """What a text says, apart from what was measured and from how it is laid out."""
    return set(re.findall(r"[A-Za-z][\w/.\"=-]*", _MEASURED.sub(" ", text)))


class Terminal:
    """Commands in a terminal of 80 columns, without colour. Those of this Python, `kmirror` first, are on the PATH."""

    def __init__(self, kmirror: Kmirror) -> None:
        hidden = {"COLUMNS", "LINES"}
        self._environment = {k: v for k, v in kmirror.environment.items() if k not in hidden} | {"TERM": "xterm"}
        self._environment["PATH"] = f"{Path(sys.executable).parent}:{self._environment['PATH']}"
        self._started: list[subprocess.Popen[bytes]] = []

    def start(self, command: list[str], output: int) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            command, env=self._environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
        self._started.append(process)
        return process

    def run(self, command: list[str], *, interrupt_after: str | None = None) -> tuple[int, str]:
        """Exit code and output. `interrupt_after`: Ctrl-C once this word was printed."""
        ours, theirs = pty.openpty()
        with os.fdopen(ours, "rb", buffering=0) as screen:
            fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 80, 0, 0))
            process = self.start(command, theirs)
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
