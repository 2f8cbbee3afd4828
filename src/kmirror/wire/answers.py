"""Answers that can't be read; one that was decoded may still lack what was asked for."""

import struct
from collections.abc import Hashable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol, TypeVar

from kmirror.errors import ClusterError
from kmirror.wire.errors import BrokerError, ProtocolError

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")
Answers = dict[K, T | ClusterError]
"""What came of each thing that one request asks for: one that is refused says nothing of the others."""


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


def answers_of(asked: Iterable[K], found: Mapping[K, tuple[int, T]], request: str) -> Answers[K, T]:
    """Of each that was asked for; `found` are error codes and values."""
    out: Answers[K, T] = {}
    for key in asked:
        where = f"{request} {key[0]}[{key[1]}]" if isinstance(key, tuple) else request
        if key not in found:
            out[key] = ProtocolError(f"{where}: the broker's answer leaves it out")
            continue
        code, value = found[key]
        out[key] = BrokerError(code, where) if code else value
    return out


def the_only(answers: Answers[K, T]) -> T:
    """What came of the one that there is; raises its error."""
    (answer,) = answers.values()
    if isinstance(answer, ClusterError):
        raise answer
    return answer
