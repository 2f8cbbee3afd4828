"""A program in tmux, which people watch it in: another terminal than pyte, with a mind of its own about widths."""

import shlex
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Self

from support.wait import eventually

INSTALLED = shutil.which("tmux") is not None
_HIDDEN = ("COLUMNS", "LINES", "NO_COLOR", "TERM", "TMUX")


class Tmux:
    """`with Tmux(directory, command, 80, 24, environment) as terminal:`; a server of its own, which ends with it.

    `directory` holds its socket: the path has to be short.
    """

    def __init__(
        self, directory: Path, command: Sequence[str], columns: int, lines: int, environment: Mapping[str, str]
    ) -> None:
        self._environment = {k: v for k, v in environment.items() if k not in _HIDDEN} | {"TERM": "xterm-256color"}
        configuration = directory / "tmux.conf"
        configuration.write_text(
            'set -g remain-on-exit on\nset -g status off\nset -g default-terminal "tmux-256color"\n'
        )
        self._tmux = ("tmux", "-u", "-S", str(directory / "tmux"), "-f", str(configuration))
        self._size = ("-x", str(columns), "-y", str(lines))
        # Its shell writes the exit code: tmux (3.3a) now and then never waits for a process that ended.
        self._exit_code = directory / "exit_code"
        self._command = f"trap : INT; {shlex.join(command)}; echo $? > {shlex.quote(str(self._exit_code))}"

    def __enter__(self) -> Self:
        self._ask("new-session", "-d", *self._size, self._command)
        return self

    def __exit__(self, *_: object) -> None:
        self._ask("kill-server")

    @property
    def text(self) -> str:
        return self._ask("capture-pane", "-p").rstrip()

    def wait_for(self, wanted: Callable[[str], object]) -> str:
        """Until the screen is as wanted; returns it."""
        eventually(lambda: wanted(self.text), 30, lambda: f"not on the screen:\n{self.text}", 0.1)
        return self.text

    def interrupt(self) -> int:
        """Types Ctrl-C; returns the exit code."""
        self._ask("send-keys", "C-c")
        ended = eventually(self._exit_code.read_text, 20, lambda: f"does not end:\n{self.text}", 0.1)
        return int(ended)

    def _ask(self, *words: str) -> str:
        done = subprocess.run(
            [*self._tmux, *words], env=self._environment, capture_output=True, text=True, timeout=20, check=False
        )
        assert done.returncode == 0, f"tmux {words[0]}: {done.stderr}"
        return done.stdout
