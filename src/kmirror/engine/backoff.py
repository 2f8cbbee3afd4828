"""Waiting between tries: doubling, capped, and jittered so that many partitions don't knock together."""

import asyncio
import contextlib
import random


class Backoff:
    """Seconds to wait: a random part of `first`, 2 x `first`, ... up to `most`."""

    def __init__(self, first: float = 0.1, most: float = 5.0) -> None:
        self._first = first
        self._most = most
        self._next = first

    def next(self) -> float:
        delay = self._next * random.uniform(0.5, 1.0)
        self._next = min(self._most, self._next * 2)
        return delay

    def reset(self) -> None:
        self._next = self._first


async def wait_for_event(event: asyncio.Event, most_s: float) -> bool:
    """Waits until `event` is set, at most `most_s` seconds; whether it is set."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(most_s):
            await event.wait()
    return event.is_set()
