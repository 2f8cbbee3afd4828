"""What the engine asks of those who may change the destination's topics and what is remembered of mirrors."""

from typing import Protocol

from kmirror.model.ledger import LostGap
from kmirror.model.mirror import MirrorError


class Recorder(Protocol):
    """Each may raise KmirrorError: the engine shows it and tries again."""

    async def failed(self, topic: str, error: MirrorError) -> None:
        """Records that the mirror is FAILED."""

    async def stopped(self, topic: str) -> None:
        """Sets the held-back configs at the destination, then records that the mirror is STOPPED."""

    async def lost(self, topic: str, gap: LostGap) -> None:
        """Writes into the ledger that offsets were lost to retention; only then are they filled."""

    async def grow(self, topic: str, partitions: int) -> None:
        """Gives the mirror topic `partitions` partitions, and records it."""
