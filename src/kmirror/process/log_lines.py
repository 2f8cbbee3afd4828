"""A log record as one line: words and key=value for people, an object of JSON for machines. No secret is in either."""

import json
import logging
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

MASK: Final = "***"
_SECRET_KEY: Final = re.compile(r"password|passwd|secret|jaas|credential|api[._-]?key", re.IGNORECASE)
_SECRET_VALUE: Final = re.compile(
    r"""(?ix) ( [\w.-]* (?:password|passwd|secret|jaas\.config) [\w.-]* ["']? \s* (?:=|:|->) \s* )
        (?: "(?:[^"\\]|\\.)*" | '[^']*' | [^\s,;]+ )
        (?: \s*->\s* (?: "(?:[^"\\]|\\.)*" | '[^']*' | [^\s,;]+ ) )?"""
)
_VALUES: Final = frozenset({"old", "new", "value"})
_PLAIN: Final = re.compile(r'[^\s"=\\\x00-\x1f\x7f]+')
_WORDS_MASKED: Final = re.compile(r"[\x00-\x1f\x7f]+")


def without_secrets(text: str) -> str:
    """`password="x"` and its like, wherever they stand, as `password=***`."""
    return _SECRET_VALUE.sub(rf"\1{MASK}", text)


def facts_of(record: logging.LogRecord) -> dict[str, Any]:
    """The facts of an event, those that tell a secret masked, and its traceback if it has one."""
    told = {name: value for name, value in getattr(record, "facts", {}).items() if value is not None}
    named = str(told.get("key", ""))  # of a configuration: then its values are what must not be seen
    facts = {name: _fact(named if name in _VALUES else name, value) for name, value in told.items()}
    if record.exc_info and record.exc_info[0] is not None:
        facts["exception"] = without_secrets(logging.Formatter().formatException(record.exc_info))
    return facts


def _fact(name: str, value: Any) -> Any:
    if _SECRET_KEY.search(name):
        return MASK
    return value if isinstance(value, bool | int | float) else without_secrets(str(value))


def _time(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _event(record: logging.LogRecord) -> str:
    return without_secrets(record.getMessage())


class KeyValueLines(logging.Formatter):
    """`2026-01-31T12:00:00.000Z warning  batch refused topic=orders partition=3 error="not enough replicas"`."""

    def format(self, record: logging.LogRecord) -> str:
        words = _WORDS_MASKED.sub(" ", _event(record))
        facts = "".join(f" {name}={_value(value)}" for name, value in facts_of(record).items())
        return f"{_time(record)} {record.levelname.lower():<8} {words}{facts}"


class JsonLines(logging.Formatter):
    """One object a line: `time`, `level`, `event`, `logger`, what is true of all lines, and the facts."""

    def __init__(self, always: Mapping[str, str]) -> None:
        super().__init__()
        self._always = always

    def format(self, record: logging.LogRecord) -> str:
        head = {"time": _time(record), "level": record.levelname.lower(), "event": _event(record)}
        return json.dumps({**head, "logger": record.name, **self._always, **facts_of(record)}, ensure_ascii=False)


def _value(value: Any) -> str:
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return text if _PLAIN.fullmatch(text) else json.dumps(text, ensure_ascii=False)
