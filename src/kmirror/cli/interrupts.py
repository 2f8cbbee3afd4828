"""Ctrl-C, SIGTERM and a closed terminal as one KeyboardInterrupt, for commands that have things to clean up."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

_ENDING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupts:
    """Raises the first that comes, and no other: what cleans up after it is not cut short."""

    def __init__(self) -> None:
        self._over = False
        self._held = False
        self._waiting = False

    @contextmanager
    def heard(self) -> Iterator[None]:
        before = {number: signal.signal(number, self._arrived) for number in _ENDING}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextmanager
    def held(self) -> Iterator[None]:
        """What comes meanwhile is raised at the end: for steps that must be done whole."""
        self._held = True
        try:
            yield
        finally:
            self._held = False
        if self._waiting:
            self._raise()

    def no_more(self) -> None:
        """From here on nothing is raised: the command is ending anyhow."""
        self._over = True

    def _arrived(self, _number: int, _frame: FrameType | None) -> None:
        if self._held:
            self._waiting = True
        else:
            self._raise()

    def _raise(self) -> None:
        if not self._over:
            self._over = True
            raise KeyboardInterrupt
