"""The log of a link's runner as it is read: its end, and what comes then. The file is rotated under the reader's eyes.

`kmirror.log` becomes `kmirror.log.1`, that `kmirror.log.2`, and so on; an open file stays the one that it was.
"""

import itertools
import os
from collections import deque
from pathlib import Path
from typing import IO, Self


class LogFollower:
    """`tail` gives the last lines, `read` then whatever was written since: nothing twice, nothing left out."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: IO[str] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file:
            self._file.close()

    def tail(self, lines: int) -> str:
        """The last `lines` lines, those of older files included."""
        found: deque[str] = deque(maxlen=lines)
        older = itertools.takewhile(Path.exists, (Path(f"{self._path}.{n}") for n in itertools.count(1)))
        self._file = _open(self._path)
        found.extend(self._file or ())
        for path in older:
            if len(found) >= lines:
                break
            with path.open(encoding="utf-8", errors="replace") as file:
                before = deque(file, lines - len(found))
            found.extendleft(reversed(before))
        return "".join(found)

    def read(self) -> str:
        """What was written since; empty when nothing was."""
        text = self._file.read() if self._file else ""
        if not self._is_current():
            if self._file:
                text += self._file.read()  # written between our look and the rotation
                self._file.close()
            self._file = _open(self._path)
            text += self._file.read() if self._file else ""
        return text

    def _is_current(self) -> bool:
        try:
            now = self._path.stat()
        except FileNotFoundError:
            return self._file is None
        return self._file is not None and os.fstat(self._file.fileno()).st_ino == now.st_ino


def _open(path: Path) -> IO[str] | None:
    try:
        return path.open(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return None
