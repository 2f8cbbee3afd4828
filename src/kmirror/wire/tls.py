"""TLS as Kafka's clients do it: the broker's certificate is checked, and its host name, unless that is turned off."""

import contextlib
import ssl
from functools import lru_cache
from typing import Final

from kmirror.model.security import Security
from kmirror.wire.credentials import CredentialsMissing, pem_path
from kmirror.wire.errors import AuthenticationFailed, ConnectionLost, WrongProtocol

_WRONG_PROTOCOL: Final = frozenset(
    {"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG"}
)
_KEPT: Final = 8


@lru_cache(maxsize=_KEPT)
def tls_context(security: Security) -> ssl.SSLContext:
    """The same one as long as certificates and keys are the same. Raises CredentialsMissing."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = security.check_host
    if security.authorities is None:
        context.load_default_certs()
    else:
        try:
            context.load_verify_locations(cadata=security.authorities)
        except (ssl.SSLError, ValueError) as e:
            raise CredentialsMissing("the truststore holds no certificate in PEM format", _PEM_HINT) from e
    if security.chain:
        _load_chain(context, security)
    return context


_PEM_HINT: Final = "Convert it: `openssl pkcs12 -in store.p12 -out store.pem`."


def _load_chain(context: ssl.SSLContext, security: Security) -> None:
    def password() -> str:  # a callback, or OpenSSL would ask the terminal for it
        return security.key_password

    with contextlib.ExitStack() as stack:
        chain, key = (stack.enter_context(pem_path(text)) for text in (security.chain, security.key))
        try:
            context.load_cert_chain(chain, key, password)
        except ssl.SSLError as e:
            if "MISMATCH" in (e.reason or ""):
                raise CredentialsMissing("the keystore's key is not that of its certificate", _PEM_HINT) from None
            raise CredentialsMissing(
                "the keystore holds no certificate and key in PEM format that its password opens",
                'Check "ssl.key.password". ' + _PEM_HINT,
            ) from None


def tls_fault(name: str, host: str, error: Exception) -> AuthenticationFailed | WrongProtocol | ConnectionLost:
    """Why a handshake with broker `name` failed, in words that say what to do."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return _not_trusted(name, host, error)
    reason = (getattr(error, "reason", None) or "") if isinstance(error, ssl.SSLError) else ""
    if reason in _WRONG_PROTOCOL:
        return WrongProtocol(f"{name} does not speak TLS", _NO_TLS)
    if "ALERT" in reason and ("CERTIFICATE" in reason or "HANDSHAKE_FAILURE" in reason or "UNKNOWN_CA" in reason):
        return AuthenticationFailed(
            f"{name} does not accept the client's certificate ({_words(reason)})",
            hint='Give one that its truststore knows, by "ssl.keystore.location" in PEM format.',
        )
    if isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLEOFError):
        return AuthenticationFailed(f"{name}: TLS handshake failed ({_words(reason) or 'no reason given'})")
    return WrongProtocol(f"{name} closed the connection in the TLS handshake", _NO_TLS)


_NO_TLS: Final = 'Check the port, and "security.protocol": its listener seems to speak PLAINTEXT or SASL_PLAINTEXT.'


def _not_trusted(name: str, host: str, error: ssl.SSLCertVerificationError) -> AuthenticationFailed:
    why = error.verify_message.rstrip(".")
    if error.verify_code in {62, 64}:  # X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH
        return AuthenticationFailed(
            f'the certificate of {name} is not for "{host}"',
            hint="Reach the broker by a name that is in its certificate, or have one made that names this host.",
        )
    if error.verify_code == 10:  # X509_V_ERR_CERT_HAS_EXPIRED
        return AuthenticationFailed(
            f"the certificate of {name} has expired",
            hint="Renew it at the broker, and check the clock of this machine.",
        )
    return AuthenticationFailed(
        f"the certificate of {name} is not trusted: {why}",
        hint='Give its authority by "ssl.truststore.location" in PEM format.',
    )


def _words(reason: str) -> str:
    return reason.lower().replace("_", " ")
