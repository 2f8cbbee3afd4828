"""A connection to a broker that answers a produce request when a test says so, and a producer over it."""

import struct
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from kmirror.engine.budget import Budget
from kmirror.engine.copy import PartitionCopy
from kmirror.engine.destination import DestinationProducer
from kmirror.wire.cluster import ConnectionCounters
from kmirror.wire.produce import BY_NAME


class Unanswered:
    """Each request for partition 1 of topic "t" waits in `askers` until it is answered here."""

    takes_pipes = False
    takes_more = True

    def __init__(self) -> None:
        self.askers: list[Any] = []

    def version_of(self, *_: int) -> int:
        return BY_NAME

    def send_for(self, asker: object, *_: object, **__: object) -> None:
        self.askers.append(asker)

    def throttled(self, ms: int) -> None:
        assert ms == 0

    async def unthrottled(self) -> None:
        pass

    async def drain(self) -> None:
        pass

    def answer(self, base: int) -> None:
        """The oldest: its batch is at offset `base`."""
        one = struct.pack(">ihqqq", 1, 0, base, -1, 0) + b"\1\0\0"
        frame = b"\0\0\0\1\0" + b"\2\2t\2" + one + b"\0" + bytes(4) + b"\0"
        self.askers.pop(0).set_result(memoryview(frame))


def producer_over(
    connection: Unanswered,
    node: int,
    pipeline: int = 0,
    *,
    budget: Budget | None = None,
    round_trip_s: float = 0.0,
    on_drained: Callable[[PartitionCopy], None] = lambda _: None,
) -> DestinationProducer:
    """It asks for no other connection than that of its pipeline to `node`."""

    async def get(*asked: object) -> Unanswered:
        assert asked == (node, "produce", pipeline)
        return connection

    cluster: Any = SimpleNamespace(round_trip_s=round_trip_s, connection=get, counters=ConnectionCounters())
    return DestinationProducer(
        node,
        pipeline,
        cluster,
        budget or Budget(1 << 20),
        producer_id=lambda: 7,
        request_timeout_s=1.0,
        on_drained=on_drained,
        on_broken=lambda *_: None,
        on_end=lambda *_: None,
    )
