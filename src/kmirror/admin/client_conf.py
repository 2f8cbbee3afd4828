"""The configuration of librdkafka's clients, from the same properties that the data plane is made with."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, Final

from confluent_kafka import KafkaException

from kmirror.model.access import Access
from kmirror.model.security import OAUTHBEARER, Security
from kmirror.wire.credentials import CredentialsMissing, pem_path, security_of
from kmirror.wire.tls import tls_context
from kmirror.wire.tokens import token_of

Conf = dict[str, Any]
_QUIET: Final = {"log_level": 0}
"""librdkafka writes to stderr on its own, which is the user's: what fails is in the errors."""


@contextmanager
def client_conf(access: Access, more: Mapping[str, Any]) -> Iterator[Conf]:
    """What a client is to be constructed with inside; the files that it names are gone afterwards.

    Raises CredentialsMissing. `more` are its other properties.
    """
    security = security_of(access)
    if security.protocol.is_encrypted:
        tls_context(security)  # says what is wrong with a certificate better than librdkafka does
    with ExitStack() as stack:
        conf = {
            "bootstrap.servers": access.bootstrap,
            **_QUIET,
            **_sasl(security),
            **_tls(security, stack),
            **more,
        }
        try:
            yield conf
        except KafkaException as e:
            raise CredentialsMissing(
                f"a client for {access.bootstrap} can't be made: {e.args[0].str()}",
                "Check the security configurations of the link.",
            ) from None


def _sasl(security: Security) -> Conf:
    if not security.protocol.is_sasl:
        return {"security.protocol": security.protocol.value}
    conf: Conf = {"security.protocol": security.protocol.value, "sasl.mechanism": security.mechanism}
    if security.mechanism == OAUTHBEARER:
        return {**conf, "oauth_cb": lambda _config: _token(security)}
    return {**conf, "sasl.username": security.username, "sasl.password": security.password}


def _token(security: Security) -> tuple[str, float, str, dict[str, str]]:
    token = token_of(security)
    return token.text, token.expires_s, token.principal, {}


def _tls(security: Security, stack: ExitStack) -> Conf:
    if not security.protocol.is_encrypted:
        return {}
    conf: Conf = {"ssl.endpoint.identification.algorithm": "https" if security.check_host else "none"}
    if security.authorities is not None:
        conf["ssl.ca.location"] = stack.enter_context(pem_path(security.authorities))
    if security.chain:
        conf["ssl.certificate.location"] = stack.enter_context(pem_path(security.chain))
        conf["ssl.key.location"] = stack.enter_context(pem_path(security.key))
        conf["ssl.key.password"] = security.key_password
    return conf
