"""A terminal with a program in it: a real pty, and pyte to see what stands on the screen."""

import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Self

import pyte

_OWN_TERMINAL = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execvp(sys.argv[1], sys.argv[1:])
"""
"""Makes it the terminal of the session: else Ctrl-C would reach nobody."""


class Terminal:
    """`with Terminal(command, 80, 24) as terminal:`; at the end the program is killed if it still runs."""

    def __init__(self, command: Sequence[str], columns: int, lines: int, environment: Mapping[str, str]) -> None:
        self.screen = pyte.Screen(columns, lines)
        self.written = b""
        self._stream = pyte.ByteStream(self.screen)
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        inherited = {k: v for k, v in environment.items() if k not in {"COLUMNS", "LINES", "NO_COLOR", "TERM"}}
        self._process = subprocess.Popen(
            [sys.executable, "-c", _OWN_TERMINAL, *command],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env={**inherited, "TERM": "xterm-256color", "PYTHONIOENCODING": "utf-8"},
            start_new_session=True,
        )
        os.close(slave)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        os.close(self._master)

    @property
    def text(self) -> str:
        return "\n".join(line.rstrip() for line in self.screen.display).rstrip()

    def wait_for(self, wanted: Callable[[str], bool], timeout: float = 30) -> str:
        """Until the screen is as wanted; returns it."""
        deadline = time.monotonic() + timeout
        while not wanted(self.text):
            if time.monotonic() > deadline or not self._read(0.1):
                raise AssertionError(f"not on the screen within {timeout} s:\n{self.text}")
        return self.text

    def interrupt(self, timeout: float = 20) -> int:
        """Types Ctrl-C; returns the exit code."""
        os.write(self._master, b"\x03")
        deadline = time.monotonic() + timeout
        while self._process.poll() is None and time.monotonic() < deadline:
            self._read(0.1)
        while self._read(0):
            pass
        return self._process.wait(0.1)

    def _read(self, timeout: float) -> bool:
        """False when nothing can come any more, or, without a timeout, when nothing is there."""
        if not select.select([self._master], [], [], timeout)[0]:
            return timeout > 0
        try:
            data = os.read(self._master, 1 << 16)
        except OSError:  # the program is gone, and what it wrote is read
            return False
        self.written += data
        self._stream.feed(data)
        return bool(data)
