"""Making a connection: TCP, TLS, which requests the broker speaks, and who we are."""

import asyncio
import socket
import ssl
from typing import Final

from kafka.protocol.metadata import ApiVersionsRequest, ApiVersionsResponse

from kmirror.model.access import Access
from kmirror.model.bootstrap import parse_bootstrap
from kmirror.wire.answers import reading
from kmirror.wire.buffers import BufferPool
from kmirror.wire.connection import Connection
from kmirror.wire.credentials import security_of
from kmirror.wire.errors import ConnectionLost, check
from kmirror.wire.sasl import authenticate
from kmirror.wire.tls import tls_context, tls_fault
from kmirror.wire.transport import SocketTransport, open_socket

_RENEWAL_S: Final = 30.0
"""As long as any request: what was sent before is answered first, and a broker may be slow with it."""
_SILENT_HINT: Final = (
    'Check the port, and "security.protocol": a listener for TLS or SASL closes connections that speak otherwise.'
)


async def connect(
    access: Access, host: str, port: int, *, timeout: float = 5.0, buffers: BufferPool | None = None
) -> Connection:
    """Connects to a broker of the cluster, learns its API versions, and says who we are. `timeout` in seconds.

    Secrets and certificates are read anew. Large frames come in memory of `buffers`, which connections of one event
    loop may share. Raises ConnectionLost, ProtocolError, WrongProtocol, AuthenticationFailed, CredentialsMissing.
    """
    name = f"{host}:{port}"
    security = security_of(access)
    context = tls_context(security) if security.protocol.is_encrypted else None
    connection = Connection(name, buffers or BufferPool())
    try:
        async with asyncio.timeout(timeout):
            sock = await open_socket(host, port)
            if context is None:
                SocketTransport(asyncio.get_running_loop(), sock, connection)
            else:
                await _shake_hands(sock, connection, context, host)
    except TimeoutError:
        raise ConnectionLost(f"no connection to {name} within {timeout:g} s") from None
    except OSError as e:
        raise ConnectionLost(f"cannot connect to {name}: {e.strerror or e}") from None
    try:
        await _learn_versions(connection, host, timeout)
        if security.protocol.is_sasl:
            lifetime_s = await authenticate(connection, security, timeout=timeout)
            connection.renew_within(
                lifetime_s, lambda: authenticate(connection, security_of(access), timeout=_RENEWAL_S)
            )
    except BaseException:
        connection.close()
        raise
    return connection


async def _shake_hands(sock: socket.socket, connection: Connection, context: ssl.SSLContext, host: str) -> None:
    loop = asyncio.get_running_loop()
    try:
        await loop.create_connection(lambda: connection, sock=sock, ssl=context, server_hostname=host)
    except OSError as e:  # ssl.SSLError is one
        raise tls_fault(connection.name, host, e) from None
    except BaseException:
        sock.close()
        raise


async def _learn_versions(connection: Connection, host: str, timeout: float) -> None:
    try:
        answer = await connection.call(ApiVersionsRequest(), ApiVersionsResponse, 0, timeout=timeout)
    except ConnectionLost as e:
        if isinstance(connection.fault, ssl.SSLError):  # TLS 1.3: a client's certificate is refused after the handshake
            raise tls_fault(connection.name, host, connection.fault) from None
        raise ConnectionLost(e.message, _SILENT_HINT) from None
    check(answer.error_code, f"{connection.name} ApiVersions")
    with reading(connection, "ApiVersions"):
        connection.versions = {api.api_key: (api.min_version, api.max_version) for api in answer.api_keys}


async def connect_any(access: Access, *, timeout: float = 5.0) -> Connection:
    """To the first of the bootstrap servers that answers; raises ConnectionLost where none does, else as `connect`."""
    fault = ConnectionLost("no bootstrap server")
    for host, port in parse_bootstrap(access.bootstrap):
        try:
            return await connect(access, host, port, timeout=timeout)
        except ConnectionLost as e:
            fault = e
    raise fault
