"""An answer that was decoded may still not be what was asked for: no topic in it, nothing where something must be."""

from collections.abc import Iterator
from contextlib import contextmanager

from kmirror.wire.connection import Connection
from kmirror.wire.errors import ProtocolError


@contextmanager
def reading(connection: Connection, request: str) -> Iterator[None]:
    """Around what takes an answer apart: raises ProtocolError, and gives the connection up, where a part is missing."""
    try:
        yield
    except (LookupError, TypeError, AttributeError, ValueError) as e:
        connection.close()
        raise ProtocolError(f"{connection.name}: unreadable answer to {request}: {e}") from e
