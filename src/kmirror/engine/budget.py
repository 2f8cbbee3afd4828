"""The byte budget of a link: bounds what is held between the fetch and the ack, whatever the number of partitions."""

import asyncio


class Budget:
    """Counts bytes. A batch larger than the whole budget is let through when nothing else is held."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held = 0
        self._freed = asyncio.Event()

    @property
    def limit(self) -> int:
        return self._limit

    @property
    def held(self) -> int:
        return self._held

    async def acquire(self, size: int) -> None:
        while self._held and self._held + size > self._limit:
            self._freed.clear()
            await self._freed.wait()
        self._held += size

    def adjust(self, reserved: int, actual: int) -> None:
        """Replaces a reservation by what really came."""
        self._held += actual - reserved
        self._freed.set()

    def release(self, size: int) -> None:
        self._held -= size
        self._freed.set()
