"""Which of the pipelines to a broker of the destination a partition's batches take, each over a connection of its own.

A broker handles one request of a connection at a time (`SocketServer` mutes it meanwhile): of two it reads the one
while it appends what came over the other. That pays for large batches alone. Of small ones more are merged, and more
stand in a request, where all take the first.
"""

from typing import Final
from weakref import WeakKeyDictionary

from kmirror.engine.copy import PartitionCopy

PIPELINES: Final = 2


class Pipelines:
    """Shares the partitions of large batches that a broker leads out among its pipelines, in turn."""

    def __init__(self) -> None:
        self._next: dict[int, int] = {}
        self._shares: WeakKeyDictionary[PartitionCopy, tuple[int, int]] = WeakKeyDictionary()

    def choose(self, copy: PartitionCopy) -> None:
        """Has `copy` sent on over the pipeline for such batches as came last: as soon as nothing of it is on its way.

        Until then it is sent nothing, so no batch overtakes another.
        """
        if copy.piped:
            copy.next_pipeline = self._share(copy)
        elif copy.small or copy.far:
            copy.next_pipeline = 0
        if not copy.busy:
            copy.pipeline = copy.next_pipeline

    def _share(self, copy: PartitionCopy) -> int:
        node, number = self._shares.get(copy, (-1, 0))
        if node != copy.node:
            number = self._next.get(copy.node, 0)
            self._next[copy.node] = (number + 1) % PIPELINES
            self._shares[copy] = copy.node, number
        return number
