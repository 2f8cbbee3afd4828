"""SASL (KIP-43, KIP-152): who we are is told by kafka-python's mechanism objects, the requests are ours.

The answer says how long the session lives (KIP-368).
"""

import asyncio
from typing import TYPE_CHECKING, Any, Final

from kafka.net.sasl.oauth import SaslMechanismOAuth
from kafka.net.sasl.plain import SaslMechanismPlain
from kafka.net.sasl.scram import SaslMechanismScram
from kafka.protocol.sasl import (
    SaslAuthenticateRequest,
    SaslAuthenticateResponse,
    SaslHandshakeRequest,
    SaslHandshakeResponse,
)

from kmirror.model.security import OAUTHBEARER, PLAIN, Security
from kmirror.wire.errors import NONE, AuthenticationFailed, ConnectionLost, WrongProtocol, error_name
from kmirror.wire.tokens import GivenToken, token_of

if TYPE_CHECKING:
    from kmirror.wire.connection import Connection

_UNSUPPORTED_MECHANISM: Final = 33
_ILLEGAL_STATE: Final = 34
_HINT: Final = "Check the name and the password, and that the cluster knows them for this mechanism."


async def authenticate(connection: "Connection", security: Security, *, timeout: float) -> float:
    """Says who we are on `connection`; returns the seconds that the session lives, 0 where it has no end.

    Raises AuthenticationFailed, WrongProtocol, ConnectionLost. `timeout` in seconds for each answer.
    """
    mechanism = await _mechanism(security)
    with connection.alone():
        return await _tell(connection, mechanism, security, timeout)


async def _tell(connection: "Connection", mechanism: Any, security: Security, timeout: float) -> float:
    shake = SaslHandshakeRequest(mechanism=security.mechanism)
    try:
        answer = await connection.call(shake, SaslHandshakeResponse, 1, timeout=timeout, pass_gate=True)
    except ConnectionLost as e:
        raise WrongProtocol(f"{connection.name} closed the connection when it was told of SASL", _NO_SASL) from e
    if answer.error_code == _UNSUPPORTED_MECHANISM:
        known = ", ".join(answer.mechanisms) or "none"
        raise AuthenticationFailed(
            f"{connection.name} does not take {security.mechanism}, but {known}",
            hint='Set "sasl.mechanism" to one of those.',
        )
    if answer.error_code == _ILLEGAL_STATE:
        raise WrongProtocol(f"the listener of {connection.name} is not for SASL", _NO_SASL)
    if answer.error_code != NONE:
        raise AuthenticationFailed(f"{connection.name}: SaslHandshake: {error_name(answer.error_code)}", hint=_HINT)
    return await _exchange(connection, mechanism, security, timeout)


_NO_SASL: Final = 'Check the port, and "security.protocol": its listener seems to speak SSL or PLAINTEXT.'


async def _exchange(connection: "Connection", mechanism: Any, security: Security, timeout: float) -> float:
    version = connection.version_of(SaslAuthenticateRequest.API_KEY, 0, 2)
    lifetime_ms = 0
    while not mechanism.is_done():
        request = SaslAuthenticateRequest(auth_bytes=mechanism.auth_bytes())
        answer = await connection.call(request, SaslAuthenticateResponse, version, timeout=timeout, pass_gate=True)
        if answer.error_code != NONE:
            raise _refused(connection.name, security, answer.error_message or error_name(answer.error_code))
        try:
            mechanism.receive(answer.auth_bytes)
        except (ValueError, KeyError):  # SCRAM proves that the broker knows the password too
            raise _refused(connection.name, security, "the broker does not prove that it knows the password") from None
        lifetime_ms = answer.session_lifetime_ms if version >= 1 else 0
    if not mechanism.is_authenticated():
        raise _refused(connection.name, security, "authentication failed")
    return lifetime_ms / 1000


def _refused(name: str, security: Security, why: str) -> AuthenticationFailed:
    who = f'"{security.username or security.client_id}" by {security.mechanism}'
    return AuthenticationFailed(f"{name} does not accept {who}: {' '.join(why.split())}", hint=_HINT)


async def _mechanism(security: Security) -> Any:
    """The object of kafka-python that knows what to say."""
    if security.mechanism == PLAIN:
        return SaslMechanismPlain(sasl_plain_username=security.username, sasl_plain_password=security.password)
    if security.mechanism == OAUTHBEARER:
        token = await asyncio.to_thread(token_of, security)
        return SaslMechanismOAuth(sasl_oauth_token_provider=GivenToken(token.text))
    # In SCRAM's messages "=" and "," of a name are written so (RFC 5802); kafka-python leaves that to us.
    name = security.username.replace("=", "=3D").replace(",", "=2C")
    return SaslMechanismScram(
        sasl_plain_username=name, sasl_plain_password=security.password, sasl_mechanism=security.mechanism
    )
