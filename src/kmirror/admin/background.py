"""Clients that work beside whoever started them: in a thread of their own, from `with` to its end."""

import threading
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self


class InBackground(ABC):
    """`_run` works in the thread until `_ending` is set; then `_check` raises what went wrong."""

    def __init__(self, name: str) -> None:
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None:
            self.end()
        else:
            self._ending.set()

    def end(self) -> None:
        """Waits for the thread and checks; safe to call again."""
        self._ending.set()
        self._thread.join()
        self._check()

    @abstractmethod
    def _run(self) -> None: ...

    @abstractmethod
    def _check(self) -> None: ...
