"""References to secrets in the values of properties: `${env:NAME}`, `${file:/path}`, `${file:/path:key}`.

Only what refers to a secret is stored and shown. Who connects resolves it (`wire/credentials.py`), each time anew.
"""

import re
from collections.abc import Callable
from typing import Final

HIDDEN: Final = "[hidden]"
"""Stands for a secret wherever one would be shown."""

_REFERENCE: Final = re.compile(r"\$\{(env|file):([^}]*)\}")


def is_reference(value: str) -> bool:
    """Whether the whole value is one reference."""
    return _REFERENCE.fullmatch(value) is not None


def has_reference(value: str) -> bool:
    return _REFERENCE.search(value) is not None


def replace_references(value: str, look_up: Callable[[str, str], str]) -> str:
    """`look_up` gets the kind ("env", "file") and the rest of each reference."""
    return _REFERENCE.sub(lambda found: look_up(found[1], found[2]), value)


def check_references(value: str) -> None:
    """Raises ValueError with what is wrong with a reference, without its value."""
    if value == HIDDEN:
        raise ValueError(f"is {HIDDEN}, which stands for a secret that is not shown")

    def check(kind: str, rest: str) -> str:
        if not rest:
            raise ValueError(f"has an empty reference ${{{kind}:}}")
        if kind == "file" and not rest.startswith("/"):
            raise ValueError(f"refers to a file by a path that is not absolute (${{file:{rest}}})")
        return ""

    replace_references(value, check)


def file_and_key(rest: str) -> tuple[str, str]:
    """`/path` or `/path:key` of a file reference; the key is empty where the whole file is meant."""
    path, colon, key = rest.rpartition(":")
    return (path, key) if colon and path and "/" not in key else (rest, "")
