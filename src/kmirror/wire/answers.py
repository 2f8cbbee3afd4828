"""Answers that can't be read; one that was decoded may still lack what was asked for."""

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from kmirror.wire.errors import ProtocolError


class Answering(Protocol):
    """A connection."""

    name: str

    def close(self) -> None: ...


@contextmanager
def reading(connection: Answering, request: str) -> Iterator[None]:
    """Around what decodes an answer or takes it apart: raises ProtocolError, and gives the connection up."""
    try:
        yield
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, struct.error) as e:
        connection.close()
        raise ProtocolError(f"{connection.name}: unreadable answer to {request}: {e}") from e
