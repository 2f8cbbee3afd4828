"""The event loop of a process that copies. While nothing hurries it rests before it looks at its sockets again.

Each time it wakes it finds the caches of its core full of what the brokers did meanwhile, so four answers that are
taken in one go cost far less than four that are taken one by one.
"""

import asyncio
import selectors
import time
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

_T = TypeVar("_T")


class PacedSelector(selectors.DefaultSelector):
    """What is there it gives at once; if there is nothing it rests for `pause_s()` seconds, and then waits as any does.

    A timer may come late by such a pause.
    """

    def __init__(self) -> None:
        super().__init__()
        self.pause_s: Callable[[], float] = lambda: 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None or timeout > 0:
            pause_s = self.pause_s()
            if pause_s > 0:
                ready = super().select(0)
                if ready:
                    return ready
                time.sleep(pause_s)
        return super().select(timeout)


def run_paced(main: Callable[[PacedSelector], Coroutine[Any, Any, _T]]) -> _T:
    """As `asyncio.run`; `main` is given the selector, and says when there is time."""
    selector = PacedSelector()
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selector)) as runner:
        return runner.run(main(selector))
