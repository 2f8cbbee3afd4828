"""What is asked for one thing at a time, done for many at once: each call takes all that came during the last one."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Generic, TypeVar

from kmirror.errors import KmirrorError
from kmirror.model.each import Each

A = TypeVar("A")
R = TypeVar("R")


class Together(Generic[A, R]):
    """`act` gets what was asked, by name, and returns what came of each. One call runs at a time."""

    def __init__(self, act: Callable[[Mapping[str, A]], Awaitable[Each[R]]]) -> None:
        self._act = act
        self._asked: dict[str, tuple[A, asyncio.Future[R]]] = {}
        self._worker: asyncio.Task[None] | None = None

    async def do(self, name: str, what: A) -> R:
        """Raises what `act` raises or returns for `name`."""
        while name in self._asked:  # not yet begun: two changes of one thing come one after the other
            await asyncio.wait([self._asked[name][1]])
        future: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._asked[name] = (what, future)
        if self._worker is None:
            self._worker = asyncio.get_running_loop().create_task(self._work())
        return await future

    async def _work(self) -> None:
        try:
            while self._asked:
                asked, self._asked = self._asked, {}
                await self._answer(asked)
        finally:
            self._worker = None

    async def _answer(self, asked: Mapping[str, tuple[A, "asyncio.Future[R]"]]) -> None:
        try:
            answers = await self._act({name: what for name, (what, _) in asked.items()})
        except BaseException as e:
            for _, future in asked.values():
                if not future.done():
                    future.set_exception(e)
            if not isinstance(e, Exception):
                raise
            return
        for name, (_, future) in asked.items():
            answer = answers[name]
            if future.done():
                continue  # who asked was cancelled
            if isinstance(answer, KmirrorError):
                future.set_exception(answer)
            else:
                future.set_result(answer)
