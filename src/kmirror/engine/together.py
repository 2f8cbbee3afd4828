"""What is asked for one thing at a time, done for many at once: each call takes all that came during the last one."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Mapping
from itertools import islice
from typing import Generic, TypeVar

from kmirror.errors import KmirrorError

K = TypeVar("K", bound=Hashable)
A = TypeVar("A")
R = TypeVar("R")


class Together(Generic[K, A, R]):
    """`act` gets what was asked, by key, and returns what came of each. One call runs at a time, for `most` at most.

    A call begins after all have asked that it is for: what it finds out is never older than their questions.
    """

    def __init__(
        self, act: Callable[[Mapping[K, A]], Awaitable[Mapping[K, R | KmirrorError]]], *, most: int | None = None
    ) -> None:
        self._act = act
        self._most = most
        self._asked: dict[K, tuple[A, asyncio.Future[R]]] = {}
        self._worker: asyncio.Task[None] | None = None

    async def do(self, key: K, what: A) -> R:
        """Raises what `act` raises or returns for `key`."""
        while key in self._asked:  # not yet begun: two changes of one thing come one after the other
            await asyncio.wait([self._asked[key][1]])
        future: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._asked[key] = (what, future)
        if self._worker is None:
            self._worker = asyncio.get_running_loop().create_task(self._work())
        return await future

    async def _work(self) -> None:
        try:
            while self._asked:
                asked = dict(islice(self._asked.items(), self._most))
                for key in asked:
                    del self._asked[key]
                await self._answer(asked)
        finally:
            self._worker = None

    async def _answer(self, asked: Mapping[K, tuple[A, "asyncio.Future[R]"]]) -> None:
        try:
            found = await self._act({key: what for key, (what, _) in asked.items()})
            answers = {key: found[key] for key in asked}
        except BaseException as e:
            for _, future in asked.values():
                if not future.done():
                    future.set_exception(e)
            if not isinstance(e, Exception):
                raise
            return
        for key, (_, future) in asked.items():
            answer = answers[key]
            if future.done():
                continue  # who asked was cancelled
            if isinstance(answer, KmirrorError):
                future.set_exception(answer)
            else:
                future.set_result(answer)
