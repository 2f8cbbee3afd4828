"""Asking before something is done that can't be taken back."""

import sys

from kmirror.errors import UsageError


def confirmed(question: str, doing: str) -> bool:
    """True for yes. Raises UsageError where nobody can be asked: `doing` ("deleting a link") is what it is about."""
    if not sys.stdin.isatty():
        raise UsageError(f"{doing} needs a confirmation", hint="Add `--force` to do it without being asked.")
    while True:
        sys.stderr.write(f"{question} (y/n): ")
        sys.stderr.flush()
        answer = sys.stdin.readline()
        if answer.strip().lower() in {"y", "yes"}:
            return True
        if not answer or answer.strip().lower() in {"n", "no"}:
            return False
