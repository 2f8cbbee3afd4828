"""Connections whose other end is gone, and whose way says nothing of it: found by asking on another one.

A machine that is gone is noticed by TCP itself (`wire/connection.py`). Where something between acknowledges what it
throws away only silence tells, and that is also how a broker looks that is frozen, or that waits for its followers. A
frozen one is as silent on a new connection, and is waited for: what is in its socket may still be done. One that waits
has appended what it was sent. What is given up is in doubt all the same, and settled as after a cut
(`engine/opening.py`).
"""

import asyncio
from typing import Final

from kmirror.engine.identity import Identity
from kmirror.wire.cluster import Cluster

SILENT_S: Final = 8.0
"""An ack takes as long only if the broker waits for replicas; then the batches are sent again, and deduplicated."""
_LOOK_S: Final = 1.0


async def renew_silent(destination: Cluster, identity: Identity) -> None:
    """Until cancelled."""
    while True:
        await asyncio.sleep(_LOOK_S)
        if await destination.renew_silent(SILENT_S):
            identity.close()  # its way to the coordinator may be gone, too: the next question takes another
