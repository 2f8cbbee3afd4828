"""Waiting for a condition: tests never sleep for a time that somebody guessed."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

BUSY = 2
"""How many times longer things may take, as several tests run at a time, than a test says that they take."""


def eventually(
    predicate: Callable[[], T],
    timeout: float = 30,
    message: str | Callable[[], str] = "",
    interval: float = 0.05,
) -> T:
    """Poll until the predicate gives something true, and return that.

    An exception of the predicate counts as "not yet". Out of time: an AssertionError with the last value or
    the last exception, so that the report tells how near it came. `message` may be a function, for a report
    of the state at the end (a log file, a status).
    """
    timeout *= BUSY
    deadline = time.monotonic() + timeout
    while True:
        failure: Exception | None = None
        value: object = None
        try:
            result = predicate()
        except Exception as error:
            failure = error
        else:
            if result:
                return result
            value = result
        if time.monotonic() >= deadline:
            break
        time.sleep(interval)
    said = message() if callable(message) else message
    last = f"the last try raised {failure!r}" if failure else f"the last value was {value!r}"
    raise AssertionError(f"{said or 'the condition'}: not within {timeout} s; {last}") from failure
