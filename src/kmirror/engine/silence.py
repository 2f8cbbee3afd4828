"""Connections whose other end is gone, and whose way says nothing of it: found by asking on another one.

A machine that is gone is noticed by TCP itself (`wire/connection.py`). Where something between acknowledges what it
throws away only silence tells, and that is also how a broker looks that waits for its followers.
"""

import asyncio
from typing import Final

from kmirror.wire.cluster import Cluster

SILENT_S: Final = 8.0
"""An ack takes as long only if the broker waits for replicas; then the batches are sent again, and deduplicated."""
_LOOK_S: Final = 1.0


async def renew_silent(destination: Cluster) -> None:
    """Until cancelled. Only for what may be sent twice: a marker that comes late takes an offset, and is waited for."""
    while True:
        await asyncio.sleep(_LOOK_S)
        await destination.renew_silent("produce", SILENT_S)
