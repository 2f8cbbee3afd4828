"""Which ways a destination lets offsets without a record be taken: asked when a link is made. Writes nothing."""

import asyncio
import uuid

from kmirror.model.access import Access
from kmirror.model.link import GapFill
from kmirror.wire.connection import Connection
from kmirror.wire.dial import connect_any
from kmirror.wire.errors import (
    CLUSTER_AUTHORIZATION_FAILED,
    TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
    ConnectionLost,
    UnsupportedVersion,
)
from kmirror.wire.rpc import try_marker
from kmirror.wire.transactions import end_transaction


def probe_gap_fill(access: Access, transactional_id: str) -> frozenset[GapFill]:
    """The ways that are allowed; the link's partitions will have transactional ids that begin with `transactional_id`.

    Raises ConnectionLost when no bootstrap server answers.
    """
    return asyncio.run(_probe(access, transactional_id))


async def _probe(access: Access, transactional_id: str) -> frozenset[GapFill]:
    found = set()
    for way, allowed in (
        (GapFill.MARKERS, _markers_allowed),
        (GapFill.TRANSACTIONS, lambda connection: _transactions_allowed(connection, f"{transactional_id}.probe")),
    ):
        connection = await connect_any(access)  # one each: a broker may drop it where it does not know the request
        try:
            if await allowed(connection):
                found.add(way)
        except (UnsupportedVersion, ConnectionLost):
            continue
        finally:
            connection.close()
    return frozenset(found)


async def _markers_allowed(connection: Connection) -> bool:
    return await try_marker(connection, f"kmirror-probe-{uuid.uuid4().hex}") != CLUSTER_AUTHORIZATION_FAILED


async def _transactions_allowed(connection: Connection, transactional_id: str) -> bool:
    """The end of a transaction that does not exist: rights are looked at first, at any broker (KafkaApis)."""
    return await end_transaction(connection, transactional_id, (0, 0)) != TRANSACTIONAL_ID_AUTHORIZATION_FAILED
