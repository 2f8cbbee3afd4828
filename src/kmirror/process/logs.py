"""Where the runner's log goes: a rotating file when detached, stderr in the foreground."""

import logging
import sys
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Final

_FILE_BYTES: Final = 10 << 20
_FILES: Final = 5
_FORMAT: Final = "%(asctime)s %(levelname)s %(message)s"


def start_logging(log_file: Path | None, *, level: int = logging.INFO) -> None:
    """Sends kmirror's log records to `log_file`, or to stderr."""
    handler: logging.Handler
    if log_file is None:
        handler = logging.StreamHandler(sys.stderr)
    else:
        handler = RotatingFileHandler(log_file, maxBytes=_FILE_BYTES, backupCount=_FILES)
    handler.setFormatter(logging.Formatter(_FORMAT))
    logger = logging.getLogger("kmirror")
    logger.handlers[:] = [handler]
    logger.setLevel(level)
    logger.propagate = False
