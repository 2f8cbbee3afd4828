"""Where the runner's log goes: a rotating file when detached, stderr in the foreground; and how its lines look."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Final

from kmirror.process.log_lines import JsonLines, KeyValueLines
from kmirror.process.log_repeats import Repeats

FILE_BYTES: Final = 10 << 20
OLDER_FILES: Final = 5
"""kmirror.log.1 is the youngest of them."""

TEXT: Final = "text"
JSON: Final = "json"


@contextmanager
def logging_to(log_file: Path | None, link: str, *, level: int = logging.INFO) -> Iterator["Log"]:
    """Sends kmirror's log records to `log_file`, or to stderr, until the end of the block."""
    handler: logging.Handler
    if log_file is None:
        handler = logging.StreamHandler(sys.stderr)
    else:
        handler = RotatingFileHandler(log_file, maxBytes=FILE_BYTES, backupCount=OLDER_FILES, encoding="utf-8")
    log = Log(handler, link)
    logger = logging.getLogger("kmirror")
    logger.handlers[:] = [handler]
    logger.setLevel(level)
    logger.propagate = False
    try:
        yield log
    finally:
        log.end()


class Log:
    def __init__(self, handler: logging.Handler, link: str) -> None:
        self._handler = handler
        self._link = link
        self._repeats = Repeats(self._write)
        handler.addFilter(self._repeats)
        self.set_form(TEXT)

    def set_form(self, form: str) -> None:
        """`text` or `json`, from the next line on."""
        self._handler.setFormatter(JsonLines({"link": self._link}) if form == JSON else KeyValueLines())

    def _write(self, record: logging.LogRecord) -> None:
        self._handler.acquire()
        try:
            self._handler.emit(record)
        finally:
            self._handler.release()

    def tick(self) -> None:
        """Every second or so: what came too often is counted."""
        self._repeats.tick()

    def end(self) -> None:
        self._repeats.flush()
        logging.getLogger("kmirror").removeHandler(self._handler)
        self._handler.close()
