"""A cluster as production has it: TLS of its own authority, SASL by every mechanism, client certificates, ACLs.

Brokers speak to each other in plain on the loopback address, where everybody is ANONYMOUS, a super user: that listener
is for the tests' own eyes. The others know the users by name, and grant them what ACLs say.
"""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Final

from kmirror.sandbox.authority import Authority
from kmirror.sandbox.cluster import KafkaCluster
from kmirror.sandbox.ports import HOST
from kmirror.sandbox.runtime import KafkaRuntime
from kmirror.sandbox.settings import broker_properties

SUPER_USER: Final = "admin"
USERS: Final = (SUPER_USER, "mirror", "app")
MECHANISMS: Final = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER")
_SECURITY: Final = "org.apache.kafka.common.security"


@dataclass(frozen=True, slots=True)
class Listener:
    """`protocol` is Kafka's; `hosts` are the names in its certificate. `mutual`: clients must show one too."""

    protocol: str
    hosts: Sequence[str] = (HOST, "localhost")
    mutual: bool = False
    expired: bool = False


LISTENERS: Final[Mapping[str, Listener]] = MappingProxyType(
    {
        "SSL": Listener("SSL"),
        "MTLS": Listener("SSL", mutual=True),
        "SASL_SSL": Listener("SASL_SSL"),
        "SASL_PLAINTEXT": Listener("SASL_PLAINTEXT"),
    }
)


@dataclass(frozen=True, slots=True)
class User:
    name: str
    password: str = field(repr=False)


class SecuredCluster(KafkaCluster):
    """Its users have random passwords, `authority` signs its certificates; both live as long as this object."""

    def __init__(
        self,
        name: str,
        directory: Path,
        runtime: KafkaRuntime,
        *,
        brokers: int = 1,
        properties: Mapping[str, str] = MappingProxyType({}),
        ports: Sequence[int] | None = None,
        listeners: Mapping[str, Listener] = LISTENERS,
    ) -> None:
        super().__init__(name, directory, runtime, brokers=brokers, properties=properties, ports=ports)
        self.authority = Authority(f"sandbox {name}")
        self.users = {user: User(user, secrets.token_urlsafe(18)) for user in USERS}
        self._listeners = dict(listeners)
        wanted = [(node.id, listener) for node in self._nodes for listener in listeners]
        self._listener_ports = dict(zip(wanted, self._held.choose(len(wanted)), strict=True))

    def servers(self, listener: str) -> str:
        """Bootstrap servers of this listener."""
        return ",".join(f"{HOST}:{self._listener_ports[node.id, listener]}" for node in self._nodes)

    def prepare(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        for listener, made in self._listeners.items():
            if made.protocol in {"SSL", "SASL_SSL"}:
                certified = self.authority.certify("broker", made.hosts, expired=made.expired)
                write_private(self._store(listener), certified.store)
        write_private(self.directory / "ca.pem", self.authority.certificate)
        super().prepare()

    def _properties_of(self, node: int) -> dict[str, str]:
        return {**super()._properties_of(node), **self._secured(node)}

    def _format_options(self) -> list[str]:
        return [
            option
            for user in self.users.values()
            for mechanism in ("SCRAM-SHA-256", "SCRAM-SHA-512")
            for option in ("--add-scram", f"{mechanism}=[name={user.name},password={user.password}]")
        ]

    def _store(self, listener: str) -> Path:
        return self.directory / f"{listener.lower()}.pem"

    def _secured(self, node: int) -> dict[str, str]:
        known = broker_properties(self._nodes[node], self._nodes, Path(), {})
        more = ",".join(f"{name}://{HOST}:{self._listener_ports[node, name]}" for name in self._listeners)
        protocols = {"PLAINTEXT": "PLAINTEXT", "CONTROLLER": "PLAINTEXT"}
        protocols |= {name: listener.protocol for name, listener in self._listeners.items()}
        properties = {
            "listeners": f"{known['listeners']},{more}",
            "advertised.listeners": f"{known['advertised.listeners']},{more}",
            "listener.security.protocol.map": ",".join(f"{name}:{kind}" for name, kind in protocols.items()),
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": f"User:ANONYMOUS;User:{SUPER_USER}",
            "sasl.enabled.mechanisms": ",".join(MECHANISMS),
            # A client's certificate names it by its CN, as user names are written everywhere else.
            "ssl.principal.mapping.rules": "RULE:^CN=([^,]*).*$/$1/,DEFAULT",
        }
        for name, listener in self._listeners.items():
            properties |= self._of_listener(name, listener)
        return {**properties, **self._properties}

    def _of_listener(self, name: str, listener: Listener) -> dict[str, str]:
        prefix = f"listener.name.{name.lower()}."
        properties: dict[str, str] = {}
        if listener.protocol in {"SSL", "SASL_SSL"}:
            properties |= {
                f"{prefix}ssl.keystore.type": "PEM",
                f"{prefix}ssl.keystore.location": str(self._store(name)),
                f"{prefix}ssl.truststore.type": "PEM",
                f"{prefix}ssl.truststore.location": str(self.directory / "ca.pem"),
                f"{prefix}ssl.client.auth": "required" if listener.mutual else "none",
            }
        if listener.protocol.startswith("SASL"):
            users = " ".join(f'user_{user.name}="{user.password}"' for user in self.users.values())
            scram = f"{_SECURITY}.scram.ScramLoginModule required;"
            properties |= {
                f"{prefix}plain.sasl.jaas.config": f"{_SECURITY}.plain.PlainLoginModule required {users};",
                f"{prefix}scram-sha-256.sasl.jaas.config": scram,
                f"{prefix}scram-sha-512.sasl.jaas.config": scram,
                # Takes tokens without a signature: who may ask for one is the token endpoint's affair.
                f"{prefix}oauthbearer.sasl.jaas.config": (
                    f'{_SECURITY}.oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub="broker";'
                ),
            }
        return properties


def write_private(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text, "ascii")
