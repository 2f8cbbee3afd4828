"""A broker with an authorizer, whose clients without a name have rights on topics and transactional ids alone."""

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from kmirror.sandbox import KafkaCluster, kafka_runtime
from kmirror.sandbox.settings import broker_properties
from support.wait import eventually

HOST: Final = "127.0.0.1"
_LOGIN: Final = (
    'org.apache.kafka.common.security.plain.PlainLoginModule required username="broker" password="broker" '
    'user_broker="broker";'
)
_ANYBODY: Final = "User:ANONYMOUS"
_ANSWER_S: Final = 20
_EVERY_ACL: Final = AclBindingFilter(
    *(ResourceType.ANY, None, ResourcePatternType.ANY),
    *(None, None, AclOperation.ANY, AclPermissionType.ANY),
)

Right = tuple[ResourceType, str, ResourcePatternType, AclOperation]

TOPICS: Final[list[Right]] = [
    (ResourceType.TOPIC, "*", ResourcePatternType.LITERAL, AclOperation.ALL),
    (ResourceType.GROUP, "*", ResourcePatternType.LITERAL, AclOperation.ALL),
]
TRANSACTIONS: Final[Right] = (
    ResourceType.TRANSACTIONAL_ID,
    "kmirror.",
    ResourcePatternType.PREFIXED,
    AclOperation.WRITE,
)
MARKERS: Final[Right] = (ResourceType.BROKER, "kafka-cluster", ResourcePatternType.LITERAL, AclOperation.ALTER)
"""confluent-kafka calls the cluster BROKER."""


class GuardedCluster(KafkaCluster):
    """Brokers and controllers speak to each other by name, on a listener of their own: `broker` may do everything."""

    def __init__(self, name: str, directory: Path) -> None:
        super().__init__(name, directory, kafka_runtime())
        (self._inside,) = self._held.choose(1)

    def prepare(self) -> None:
        (broker,) = self._brokers
        known = broker_properties(broker.node, self._nodes, broker.data, {})
        self._properties = {
            "listeners": f"{known['listeners']},INSIDE://{HOST}:{self._inside}",
            "advertised.listeners": f"{known['advertised.listeners']},INSIDE://{HOST}:{self._inside}",
            "inter.broker.listener.name": "INSIDE",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:SASL_PLAINTEXT,INSIDE:SASL_PLAINTEXT",
            "sasl.enabled.mechanisms": "PLAIN",
            "sasl.mechanism.inter.broker.protocol": "PLAIN",
            "sasl.mechanism.controller.protocol": "PLAIN",
            "listener.name.inside.plain.sasl.jaas.config": _LOGIN,
            "listener.name.controller.plain.sasl.jaas.config": _LOGIN,
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": "User:broker",
        }
        super().prepare()

    def wait_ready(self, timeout: float = 60) -> None:
        super().wait_ready(timeout)
        self.grant(TOPICS)

    def grant(self, rights: Iterable[Right]) -> None:
        """Returns when the broker keeps to it. One that is busy may have to be asked again."""
        wanted = [_binding(right) for right in rights]

        def granted() -> bool:
            admin = self._admin()  # has to outlive its answers
            for made in admin.create_acls(wanted, request_timeout=_ANSWER_S).values():
                made.result()
            return self._granted(admin).issuperset(wanted)

        eventually(granted, 60, f"these are granted: {wanted}", 0.2)

    def revoke(self, right: Right) -> None:
        """As `grant`."""
        unwanted = AclBindingFilter(*right[:3], _ANYBODY, "*", right[3], AclPermissionType.ALLOW)

        def revoked() -> bool:
            admin = self._admin()
            for gone in admin.delete_acls([unwanted], request_timeout=_ANSWER_S).values():
                gone.result()
            return _binding(right) not in self._granted(admin)

        eventually(revoked, 60, f"this is revoked: {right}", 0.2)

    def _granted(self, admin: AdminClient) -> set[AclBinding]:
        return set(admin.describe_acls(_EVERY_ACL, request_timeout=_ANSWER_S).result())

    def _admin(self) -> AdminClient:
        return AdminClient(
            {
                "bootstrap.servers": f"{HOST}:{self._inside}",
                "security.protocol": "SASL_PLAINTEXT",
                "sasl.mechanism": "PLAIN",
                "sasl.username": "broker",
                "sasl.password": "broker",
                "log_level": 2,
            }
        )


def _binding(right: Right) -> AclBinding:
    return AclBinding(*right[:3], _ANYBODY, "*", right[3], AclPermissionType.ALLOW)
