"""No floods: of an event that comes again and again the first lines are written, of the rest how many there were."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

_FIRST: Final = 5
_WINDOW_S: Final = 60.0
_IDENTITY: Final = ("topic", "cluster", "broker", "purpose", "code", "task", "key", "what", "old", "new")
"""The facts by which two events of one kind differ; the others (partition, offset, error) only vary.

Changes, which have an old and a new value, are so all written: they are what somebody looks for later.
"""


@dataclass(slots=True)
class _Window:
    since_s: float
    written: int = 0
    held: int = 0
    last: logging.LogRecord | None = None


class Repeats(logging.Filter):
    """Writes `_FIRST` lines of an event in a minute, then, when the minute is over, one that counts the others.

    `tick` is called every second or so, `flush` at the end.
    """

    def __init__(self, write: Callable[[logging.LogRecord], None], clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._write = write
        self._clock = clock
        self._windows: dict[tuple[Any, ...], _Window] = {}
        self._lock = threading.Lock()  # tasks log from threads of their own

    def filter(self, record: logging.LogRecord) -> bool:
        with self._lock:
            window = self._windows.setdefault(_identity(record), _Window(self._clock()))
            if window.written < _FIRST:
                window.written += 1
                return True
            window.held += 1
            window.last = record
            return False

    def tick(self) -> None:
        now = self._clock()
        with self._lock:
            over = {key: window for key, window in self._windows.items() if now - window.since_s >= _WINDOW_S}
            for key, window in over.items():
                del self._windows[key]
                if window.held:  # it goes on, as far as we know: a line a minute, until it pauses for one
                    self._windows[key] = _Window(now, written=_FIRST)
        for window in over.values():
            self._tell(window, now)

    def flush(self) -> None:
        now = self._clock()
        with self._lock:
            over = list(self._windows.values())
            self._windows.clear()
        for window in over:
            self._tell(window, now)

    def _tell(self, window: _Window, now: float) -> None:
        last = window.last
        if last is None:
            return
        times = "once" if window.held == 1 else f"{window.held} times"
        counted = logging.makeLogRecord(last.__dict__)
        counted.msg = f"{last.getMessage()} (repeated {times} in {now - window.since_s:.0f} s)"
        counted.args = None
        counted.__dict__["facts"] = {**getattr(last, "facts", {}), "repeated": window.held}
        self._write(counted)


def _identity(record: logging.LogRecord) -> tuple[Any, ...]:
    """Of an event by its words and the facts that tell it apart, of an older line by its words and what comes first."""
    facts = getattr(record, "facts", {})
    first = record.args[:1] if isinstance(record.args, tuple) else ()
    return (record.levelno, record.msg, *map(str, first), *(str(facts.get(name)) for name in _IDENTITY))
