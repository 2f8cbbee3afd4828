"""Which way a destination lets offsets without a record be taken: asked once, when a link is made. Writes nothing."""

import asyncio
import uuid

from kmirror.model.bootstrap import parse_bootstrap
from kmirror.model.link import GapFill
from kmirror.wire.connection import Connection, connect
from kmirror.wire.errors import (
    CLUSTER_AUTHORIZATION_FAILED,
    BrokerError,
    ConnectionLost,
    UnsupportedVersion,
    is_authorization,
)
from kmirror.wire.rpc import transaction_coordinator, try_marker


def probe_gap_fill(bootstrap: str) -> GapFill:
    """Raises ConnectionLost when no bootstrap server answers."""
    return asyncio.run(_probe(bootstrap))


async def _probe(bootstrap: str) -> GapFill:
    connection = await _connect_any(bootstrap)
    try:
        if await _markers_allowed(connection):
            return GapFill.MARKERS
        return GapFill.TRANSACTIONS if await _transactions_allowed(connection) else GapFill.NONE
    finally:
        connection.close()


async def _connect_any(bootstrap: str) -> Connection:
    fault = ConnectionLost("no bootstrap server")
    for host, port in parse_bootstrap(bootstrap):
        try:
            return await connect(host, port)
        except ConnectionLost as e:
            fault = e
    raise fault


async def _markers_allowed(connection: Connection) -> bool:
    try:
        code = await try_marker(connection, f"kmirror-probe-{uuid.uuid4().hex}")
    except (UnsupportedVersion, ConnectionLost):
        return False
    return code != CLUSTER_AUTHORIZATION_FAILED


async def _transactions_allowed(connection: Connection) -> bool:
    """Describe on the transactional id is all that can be asked without starting a transaction."""
    try:
        await transaction_coordinator(connection, f"kmirror.probe.{uuid.uuid4().hex}")
    except BrokerError as e:
        return not is_authorization(e.kafka_code)
    return True
