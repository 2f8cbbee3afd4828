"""The security properties of one side: the names that Kafka's clients know, and what they mean together.

One set of them serves the data plane (kmirror's own connections) and the control plane (librdkafka).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Final

from kmirror.model.secrets import HIDDEN, check_references, has_reference, is_reference
from kmirror.model.setting import Setting, SettingError
from kmirror.model.setting_checks import one_of


class Protocol(StrEnum):
    """org.apache.kafka.common.security.auth.SecurityProtocol."""

    PLAINTEXT = "PLAINTEXT"
    SSL = "SSL"
    SASL_PLAINTEXT = "SASL_PLAINTEXT"
    SASL_SSL = "SASL_SSL"

    @property
    def is_encrypted(self) -> bool:
        return self in {Protocol.SSL, Protocol.SASL_SSL}

    @property
    def is_sasl(self) -> bool:
        return self in {Protocol.SASL_PLAINTEXT, Protocol.SASL_SSL}


PLAIN: Final = "PLAIN"
OAUTHBEARER: Final = "OAUTHBEARER"
MECHANISMS: Final = (PLAIN, "SCRAM-SHA-256", "SCRAM-SHA-512", OAUTHBEARER)


@dataclass(frozen=True, slots=True)
class Security:
    """What a connection is made with. PEM as text: of authorities, of the client's chain, of its key.

    `authorities` None: those that the system trusts. The secrets are not in its repr.
    """

    protocol: Protocol = Protocol.PLAINTEXT
    mechanism: str = ""
    username: str = ""
    password: str = field(default="", repr=False)
    token_endpoint: str = ""
    client_id: str = ""
    client_secret: str = field(default="", repr=False)
    scope: str = ""
    authorities: str | None = field(default=None, repr=False)
    chain: str = field(default="", repr=False)
    key: str = field(default="", repr=False)
    key_password: str = field(default="", repr=False)
    check_host: bool = True


def _reference(value: str) -> None:
    check_references(value)


def _path(value: str) -> None:
    check_references(value)
    if value and not has_reference(value) and not PurePosixPath(value).is_absolute():
        raise ValueError("is not an absolute path: a runner has another working directory")


def _secret(meaning: str) -> Setting:
    return Setting("", meaning, _reference, sensitive=True)


def _text(meaning: str) -> Setting:
    return Setting("", meaning, _reference)


_FILES = "a file in PEM format"
KEYS: Final[Mapping[str, Setting]] = MappingProxyType(
    {
        "security.protocol": Setting("PLAINTEXT", "How the cluster is reached.", one_of(*Protocol)),
        "sasl.mechanism": Setting("", "How to say who one is, with a SASL protocol.", one_of("", *MECHANISMS)),
        "sasl.username": _text("Name for PLAIN and SCRAM."),
        "sasl.password": _secret("Password for PLAIN and SCRAM."),
        "sasl.jaas.config": _secret("Name and password, or client id and secret, as Kafka's Java clients have them."),
        "sasl.oauthbearer.token.endpoint.url": _text("Where tokens for OAUTHBEARER are given (client credentials)."),
        "sasl.oauthbearer.client.credentials.client.id": _text("Client id at the token endpoint."),
        "sasl.oauthbearer.client.credentials.client.secret": _secret("Client secret at the token endpoint."),
        "sasl.oauthbearer.scope": _text("Scope that is asked of the token endpoint."),
        "ssl.endpoint.identification.algorithm": Setting(
            "https",
            "Whether a broker's certificate must name its host; not, if empty.",
            one_of("https", "none", ""),
        ),
        "ssl.truststore.type": Setting("PEM", "Format of the truststore.", one_of("PEM")),
        "ssl.truststore.location": Setting("", f"Trusted authorities, {_FILES}; else those of the system.", _path),
        "ssl.ca.location": Setting("", "Another name of ssl.truststore.location.", _path),
        "ssl.truststore.certificates": _text("Trusted authorities, as PEM text."),
        "ssl.keystore.type": Setting("PEM", "Format of the keystore.", one_of("PEM")),
        "ssl.keystore.location": Setting("", f"The client's key and certificate chain (mTLS), {_FILES}.", _path),
        "ssl.keystore.certificate.chain": _text("The client's certificate chain (mTLS), as PEM text."),
        "ssl.keystore.key": _secret("The client's key (mTLS), as PEM text."),
        "ssl.key.password": _secret("Password of the client's key."),
    }
)
"""Of one side; a link has each twice, those of the destination with its prefix."""

_JAAS: Final = re.compile(
    r"\s*(?P<module>[\w.$]+)\s+(?:required|requisite|sufficient|optional)\b(?P<options>.*);\s*", re.DOTALL
)
_OPTION: Final = re.compile(
    r"""\s*(?P<name>[\w.]+)\s*=\s*(?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<bare>[^\s";]+))""", re.DOTALL
)
_MODULES: Final = MappingProxyType(
    {"PlainLoginModule": (PLAIN,), "ScramLoginModule": MECHANISMS[1:3], "OAuthBearerLoginModule": (OAUTHBEARER,)}
)


def parse_jaas(text: str) -> tuple[str, dict[str, str]]:
    """The simple name of the login module and its options; raises ValueError, without the text: it holds secrets."""
    found = _JAAS.fullmatch(text)
    if not found:
        raise ValueError('is not `MODULE required name="value" ..;`')
    options: dict[str, str] = {}
    rest, at = found["options"], 0
    while rest[at:].strip():
        option = _OPTION.match(rest, at)
        if not option:
            raise ValueError('has options that are not name="value"')
        value = option["bare"] if option["quoted"] is None else re.sub(r"\\(.)", r"\1", option["quoted"])
        options[option["name"]] = value
        at = option.end()
    return found["module"].rpartition(".")[2], options


def parse_security(properties: Mapping[str, str], prefix: str = "") -> Security:
    """What the properties of one side mean together; raises SettingError. `prefix` is for its words.

    Works on resolved values and on those with references: a JAAS configuration that is one is not looked into.
    Files are read by `wire/credentials.py`.
    """

    def of(key: str) -> str:
        return properties.get(key, KEYS[key].default)

    protocol = Protocol(of("security.protocol"))
    jaas = _from_jaas(of("sasl.jaas.config"), of("sasl.mechanism"), prefix) if protocol.is_sasl else {}
    found = Security(
        protocol=protocol,
        mechanism=of("sasl.mechanism") if protocol.is_sasl else "",
        username=of("sasl.username") or jaas.get("username", ""),
        password=of("sasl.password") or jaas.get("password", ""),
        token_endpoint=of("sasl.oauthbearer.token.endpoint.url"),
        client_id=of("sasl.oauthbearer.client.credentials.client.id") or jaas.get("clientId", ""),
        client_secret=of("sasl.oauthbearer.client.credentials.client.secret") or jaas.get("clientSecret", ""),
        scope=of("sasl.oauthbearer.scope") or jaas.get("scope", ""),
        authorities=of("ssl.truststore.certificates") or None,
        chain=of("ssl.keystore.certificate.chain"),
        key=of("ssl.keystore.key"),
        key_password=of("ssl.key.password"),
        check_host=of("ssl.endpoint.identification.algorithm") == "https",
    )
    if protocol.is_sasl:
        _check_sasl(found, prefix, later=_is_later(of("sasl.jaas.config")))
    elif any(properties.get(key) for key in KEYS if key.startswith("sasl.")):
        raise SettingError(
            f'"{prefix}sasl." configurations are given, but "{prefix}security.protocol" is {protocol}',
            f"Set {prefix}security.protocol=SASL_SSL, or leave them out.",
        )
    _check_ssl(properties, found, prefix)
    return found


def _is_later(jaas: str) -> bool:
    """Whether what it says is not known here."""
    return is_reference(jaas) or jaas == HIDDEN


def _from_jaas(text: str, mechanism: str, prefix: str) -> dict[str, str]:
    if not text or _is_later(text):
        return {}
    try:
        module, options = parse_jaas(text)
    except ValueError as e:
        raise SettingError(
            f'invalid value for configuration "{prefix}sasl.jaas.config": it {e}',
            f"Or give {prefix}sasl.username and {prefix}sasl.password instead.",
        ) from e
    if mechanism not in _MODULES.get(module, ()):
        raise SettingError(
            f'"{prefix}sasl.jaas.config" has the login module {module}, which is not for the mechanism "{mechanism}"',
            f"kmirror knows {', '.join(_MODULES)}; {prefix}sasl.mechanism is one of {', '.join(MECHANISMS)}.",
        )
    return options


def _check_sasl(found: Security, prefix: str, *, later: bool) -> None:
    if not found.mechanism:
        raise SettingError(
            f'"{prefix}security.protocol" is {found.protocol}, but "{prefix}sasl.mechanism" is not set',
            f"Set it to one of {', '.join(MECHANISMS)}.",
        )
    if later:
        return
    if found.mechanism == OAUTHBEARER:
        wanted = {"token.endpoint.url": found.token_endpoint, "client.credentials.client.id": found.client_id}
        wanted["client.credentials.client.secret"] = found.client_secret
        missing = [f"{prefix}sasl.oauthbearer.{key}" for key, value in wanted.items() if not value]
    else:
        pair = {"username": found.username, "password": found.password}
        missing = [f"{prefix}sasl.{key}" for key, value in pair.items() if not value]
    if missing:
        raise SettingError(
            f'the mechanism {found.mechanism} needs "{missing[0]}", which is not set',
            f"Set it, or {prefix}sasl.jaas.config; a secret by reference: {missing[-1]}=${{file:/path}}.",
        )


def _check_ssl(properties: Mapping[str, str], found: Security, prefix: str) -> None:
    given = [key for key in KEYS if key.startswith("ssl.") and properties.get(key)]
    if given and not found.protocol.is_encrypted:
        raise SettingError(
            f'"{prefix}{given[0]}" is given, but "{prefix}security.protocol" is {found.protocol}',
            f"Set {prefix}security.protocol to SSL or SASL_SSL, or leave it out.",
        )
    trusted = ("ssl.truststore.location", "ssl.ca.location", "ssl.truststore.certificates")
    shown = ("ssl.keystore.location", "ssl.keystore.certificate.chain")
    for group in (trusted, shown):
        twice = [f'"{prefix}{key}"' for key in group if properties.get(key)]
        if len(twice) > 1:
            raise SettingError(f"{' and '.join(twice)} are both given", "Leave one of them out.")
    if bool(found.chain) != bool(found.key):
        raise SettingError(
            f'"{prefix}ssl.keystore.certificate.chain" and "{prefix}ssl.keystore.key" go together, one is missing',
            f"Give both, or {prefix}ssl.keystore.location, a file that holds both.",
        )
