"""Events for the log: what happened in a few words, and its facts by name.

    log = events(__name__)
    log.warning("batch refused", topic="orders", partition=3, offset=1500, error="NotEnoughReplicas")

How they look is for process/logs.py to say: `batch refused topic=orders partition=3 ...`, or an object of JSON.
"""

import logging
from collections.abc import MutableMapping
from typing import Any, Final

_LOGGING: Final = frozenset({"exc_info", "stack_info", "stacklevel", "extra"})


class Events(logging.LoggerAdapter[logging.Logger]):
    """A logger whose keyword arguments are the facts of an event."""

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        facts = {name: value for name, value in kwargs.items() if name not in _LOGGING}
        rest = {name: value for name, value in kwargs.items() if name in _LOGGING}
        return msg, {**rest, "extra": {"facts": facts}}


def events(name: str) -> Events:
    return Events(logging.getLogger(name))
