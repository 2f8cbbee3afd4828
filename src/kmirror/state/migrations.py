"""How a links.toml of an earlier kmirror becomes one of this one: a chain of functions, one for each schema that was.

A new optional field needs no new schema: it is read with a default. A schema is for what an earlier kmirror would
misread, or can't find any more.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from kmirror.state.atomic import write_atomic

SCHEMA: Final = 1
"""Of the files that this kmirror writes."""

Document = dict[str, Any]
Step = Callable[[Document], Document]

STEPS: Final[Mapping[int, Step]] = MappingProxyType({})
"""By schema, what makes the next one of it. Each stays for ever, as does a file of that schema among the tests."""


class NewerSchema(ValueError):
    """The file was written by a later kmirror."""


def schema_of(document: Mapping[str, Any]) -> int:
    """Raises NewerSchema, ValueError where it is none that ever was, KeyError."""
    schema = document["schema"]
    if type(schema) is not int or schema < 1:
        raise ValueError(f"schema {schema!r} is not known")
    if schema > SCHEMA:
        raise NewerSchema(f"schema {schema}, this one knows {SCHEMA}")
    return schema


def migrated(document: Document) -> Document:
    """The document in the newest schema; raises as schema_of, and what a step raises of a damaged one."""
    for schema in range(schema_of(document), SCHEMA):
        document = {**STEPS[schema](document), "schema": schema + 1}
    return document


def back_up(path: Path, text: bytes, schema: int) -> Path:
    """Keeps a file as it was beside it, under a name that was not taken; raises OSError."""
    number = 0
    while True:
        more = f".{number}" if number else ""
        backup = path.with_name(f"{path.name}.schema-{schema}{more}.bak")
        if not backup.exists():
            write_atomic(backup, text)
            return backup
        if backup.read_bytes() == text:
            return backup
        number += 1
