"""How a failure reaches the user: what, and what to do next. Tracebacks go to a log, never to the terminal."""

import datetime as dt
import os
import sys
import traceback
from pathlib import Path

from kmirror.errors import KmirrorError


def report(error: KmirrorError) -> int:
    """Tells it on stderr; returns the exit code."""
    tell(f"Error: {error.message}")
    if error.hint:
        tell("\nSuggestions:")
        for line in error.hint.splitlines():
            tell(f"    {line}")
    return error.exit_code


def report_bug(error: BaseException) -> int:
    """Something that nobody thought of: one line, and where the rest is."""
    path = write_traceback(error)
    told = " ".join(str(error).split())
    where = f'; the traceback is in "{path}"' if path else ""
    tell(f"Error: kmirror failed unexpectedly with {type(error).__name__}: {told}{where}")
    tell("\nSuggestions:\n    Please report it with that traceback.")
    return 1


def write_traceback(error: BaseException) -> Path | None:
    """Appends it to the log of the command line; None where that can't be written."""
    try:
        from kmirror.state.paths import home, private_directory

        path = private_directory(home().runtime) / "kmirror-cli.log"
        text = "".join(traceback.format_exception(error))
        now = dt.datetime.now().astimezone().isoformat(timespec="seconds")
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(f"{now} {' '.join(sys.argv[1:])}\n{text}\n")
    except (OSError, KmirrorError):
        return None  # we are telling of another failure already
    return path


def tell(text: str) -> None:
    try:
        print(text, file=sys.stderr, flush=True)  # noqa: T201
    except OSError:
        return  # nobody reads stderr any more; the exit code still tells
