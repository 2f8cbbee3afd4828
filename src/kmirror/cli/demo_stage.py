"""Runs the demo's commands as a user would, and sees that nothing of them outlives the demo."""

import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.text import Text

from kmirror.cli.interrupts import Interrupts
from kmirror.errors import KmirrorError

_FINISH_S: Final = 10.0  # for a command that is cut short: most of them end by themselves sooner
_WIDTH: Final = 80


class Stage:
    """`kmirror` with a home of its own. Each command is printed before it runs; one runs at a time."""

    def __init__(self, console: Console, home: Path, interrupts: Interrupts) -> None:
        self._console = console
        self._interrupts = interrupts
        self._environment = {**os.environ, "KMIRROR_HOME": str(home)}
        self._process: subprocess.Popen[bytes] | None = None

    def run(self, *words: str) -> None:
        """Raises KmirrorError where the command fails; its own words are on the terminal then."""
        self._print(words)
        try:
            code = self._start(words).wait()
        except KeyboardInterrupt:
            # Let it finish what it does: half a `mirror create` would leave a runner that nobody knows of.
            self._end(first=None)
            raise
        if code != 0:
            raise KmirrorError(f"`kmirror {shlex.join(words)}` failed with exit code {code}")

    def run_for(self, seconds: float, *words: str) -> None:
        """A command that goes on until Ctrl-C, which it gets after some seconds."""
        self._print(words)
        try:
            code = self._start(words).wait(seconds)
        except subprocess.TimeoutExpired:
            self._end(first=signal.SIGINT)
            return
        except KeyboardInterrupt:
            # It may have begun a moment ago, too early to answer Ctrl-C decently. The view hides the cursor.
            self._end(first=signal.SIGTERM)
            self._console.show_cursor()
            raise
        raise KmirrorError(f"`kmirror {shlex.join(words)}` ended before its time, with exit code {code}")

    def run_quietly(self, *words: str) -> None:
        """A command of the clean-up: it may have nothing to do."""
        self._start(words, output=subprocess.DEVNULL)
        self._end(first=None)

    def _print(self, words: tuple[str, ...]) -> None:
        self._console.print(Text(f"\n$ {command_line(words)}", style="bold cyan"), soft_wrap=True)

    def _start(self, words: tuple[str, ...], output: int | None = None) -> subprocess.Popen[bytes]:
        # An interrupt is held back until the process is known here: nobody else could end it.
        with self._interrupts.held():
            self._process = process = subprocess.Popen(
                [sys.executable, "-m", "kmirror", *words],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                # A group of its own: Ctrl-C in the terminal reaches the demo alone, which ends all in order.
                process_group=0,
            )
        return process

    def _end(self, *, first: signal.Signals | None) -> None:
        """Waits for the end of what runs: `first` is sent at once, and more where it takes too long."""
        if self._process is None:
            return
        for number in (first, signal.SIGINT, signal.SIGKILL):
            if number is not None:
                self._process.send_signal(number)
            try:
                self._process.wait(_FINISH_S)
            except subprocess.TimeoutExpired:
                continue
            return


def command_line(words: tuple[str, ...]) -> str:
    """As somebody would type it: one line, or one an option where that is too long."""
    line = shlex.join(("kmirror", *words))
    if len(line) <= _WIDTH - 2:
        return line
    parts = ["kmirror"]
    for word in words:
        if word.startswith("--"):
            parts.append(f"\\\n    {word}")
        else:
            parts.append(shlex.quote(word))
    return " ".join(parts)
