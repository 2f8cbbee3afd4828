"""Which of the pipelines to a broker of the destination a partition's batches take, each over a connection of its own.

A broker handles one request of a connection at a time (`SocketServer` mutes it meanwhile): of two it reads the one
while it appends what came over the other. That pays for large batches alone. Of small ones more are merged, and more
stand in a request, where all take the first.
"""

from collections.abc import Callable
from typing import Final
from weakref import WeakKeyDictionary

from kmirror.engine.copy import PartitionCopy
from kmirror.engine.destination import DestinationProducer

PIPELINES: Final = 2


class Pipelines:
    """Shares the partitions of large batches that a broker leads out among its pipelines, in turn.

    `begin` makes one, of a broker and by number, that runs from then on.
    """

    def __init__(self, begin: Callable[[int, int], DestinationProducer]) -> None:
        self._begin = begin
        self._producers: dict[tuple[int, int], DestinationProducer] = {}
        self._next: dict[int, int] = {}
        self._shares: WeakKeyDictionary[PartitionCopy, tuple[int, int]] = WeakKeyDictionary()

    @property
    def brokers(self) -> int:
        """To how many there is one."""
        return len({node for node, _ in self._producers})

    def pause_s(self) -> float:
        """For how long nothing hurries, in seconds: each broker that we wait for has enough to do, if only over one.

        One that has time must not keep the others waiting.
        """
        most: dict[int, float] = {}
        for (node, _), producer in self._producers.items():
            if not producer.is_idle:
                most[node] = max(most.get(node, 0.0), producer.pause_s)
        return min(most.values(), default=0.0)

    def send_on(self, copy: PartitionCopy) -> None:
        """`copy`, which is open, has something to send: over the pipeline for such batches as came last.

        It changes over once nothing of it is on its way, and is sent nothing until then: no batch overtakes another.
        """
        self._choose(copy)
        at = copy.node, copy.pipeline
        if at not in self._producers:
            self._producers[at] = self._begin(*at)
        self._producers[at].ready(copy)

    def _choose(self, copy: PartitionCopy) -> None:
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
