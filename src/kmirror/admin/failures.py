"""The one place that turns librdkafka's errors into kmirror's, with Cluster Linking's names of the causes."""

import re
from types import MappingProxyType
from typing import Final

from confluent_kafka import KafkaError, KafkaException

from kmirror.errors import AuthorizationFailed, ClusterError, Conflict, KmirrorError, NotFound, NotReached, Unreachable
from kmirror.model.access import Access
from kmirror.model.rights import Need, to_grant

SILENT: Final = MappingProxyType(
    {
        KafkaError._RESOLVE: "UNRESOLVABLE_BOOTSTRAP_ERROR",  # noqa: SLF001 - local errors have names that begin so
        KafkaError._TRANSPORT: "BOOTSTRAP_TCP_CONNECTION_FAILED_ERROR",  # noqa: SLF001
        KafkaError._ALL_BROKERS_DOWN: "BOOTSTRAP_TCP_CONNECTION_FAILED_ERROR",  # noqa: SLF001
        KafkaError._TIMED_OUT: "TIMEOUT_ERROR",  # noqa: SLF001
        KafkaError.REQUEST_TIMED_OUT: "TIMEOUT_ERROR",
    }
)

NOT_LET_IN: Final = frozenset(
    {
        KafkaError._AUTHENTICATION,  # noqa: SLF001
        KafkaError._SSL,  # noqa: SLF001
        KafkaError.SASL_AUTHENTICATION_FAILED,
    }
)
"""What librdkafka tells beside the answer, and goes on trying."""

_DENIED: Final = frozenset(
    {
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
    }
)

_REFUSED: Final = MappingProxyType(
    {
        KafkaError.INVALID_CONFIG: "MISCONFIGURATION_ERROR",
        KafkaError.POLICY_VIOLATION: "POLICY_VIOLATION_ERROR",
        KafkaError.TOPIC_EXCEPTION: "INVALID_TOPIC",
        KafkaError.INVALID_REPLICATION_FACTOR: "INVALID_REQUEST_ERROR",
        KafkaError.INVALID_PARTITIONS: "INVALID_REQUEST_ERROR",
        KafkaError.INVALID_REQUEST: "INVALID_REQUEST_ERROR",
        KafkaError.SECURITY_DISABLED: "SECURITY_DISABLED_ERROR",
    }
)

_HINTS: Final = MappingProxyType(
    {
        KafkaError.SECURITY_DISABLED: "Give its brokers an authorizer, or leave ACLs out of the link.",
        KafkaError.INVALID_CONFIG: "Check what `--config` gives, and whether this version of Kafka knows that config.",
        KafkaError.POLICY_VIOLATION: "Follow the policy of that cluster, with `--config` or `--replication-factor`.",
        KafkaError.INVALID_REPLICATION_FACTOR: "Give a `--replication-factor` for which the cluster has brokers.",
    }
)

NO_LEADERS: Final = KafkaError._NOENT  # noqa: SLF001
"""What librdkafka says of ListOffsets where it knows no leader: there is none just now, or there is no such topic."""

_UNKNOWN: Final = frozenset(
    {
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError._UNKNOWN_TOPIC,  # noqa: SLF001
        KafkaError._UNKNOWN_PARTITION,  # noqa: SLF001
    }
)

PASSING: Final = frozenset(
    {
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.NOT_CONTROLLER,
        KafkaError.OFFSET_NOT_AVAILABLE,
        KafkaError.FENCED_LEADER_EPOCH,
        KafkaError.UNKNOWN_LEADER_EPOCH,
        KafkaError.KAFKA_STORAGE_ERROR,
    }
)
"""What passes by itself while leaders move: asked again within a call's time."""


_WHERE: Final = re.compile(r"^\w+://\S+: | \(after .*\)$")
"""What librdkafka puts around its words."""


def error_of(failure: KafkaException) -> KafkaError:
    error = failure.args[0]
    assert isinstance(error, KafkaError)
    return error


def translated(error: KafkaError, *, doing: str, side: str, access: Access, need: Need | None = None) -> KmirrorError:
    """What to tell the user. `doing` is a verb with its object, `side` is "source" or "destination".

    `need` is the right that it takes.
    """
    code = error.code()
    bootstrap = access.bootstrap
    words = _one_line(error.str())
    if code in SILENT:
        return Unreachable(
            f"cannot {doing}: the {side} cluster at {bootstrap} does not answer",
            hint=f"Check that the {side} cluster is up, and that its advertised listeners can be reached from here.",
            code=SILENT[code],
        )
    if code in NOT_LET_IN:
        return ClusterError(
            f"cannot {doing}: the {side} cluster at {bootstrap} does not let us in: {_WHERE.sub('', words)}",
            hint="Check the security configurations of the link; `kmirror doctor` says more.",
            code="AUTHENTICATION_ERROR",
        )
    if code in _DENIED:
        return AuthorizationFailed(
            f"cannot {doing}: the {side} cluster denies it: {words}",
            hint=to_grant(access, need) if need else "`kmirror doctor --rights` prints what to grant.",
            code="AUTHORIZATION_ERROR",
        )
    if code == NO_LEADERS:
        return NotReached(f"cannot {doing}: its partitions have no leader in the {side} cluster")
    if code in _UNKNOWN:
        return NotFound(f"cannot {doing}: the {side} cluster does not know it")
    if code == KafkaError.TOPIC_ALREADY_EXISTS:
        return Conflict(f"cannot {doing}: it already exists")
    named = _REFUSED.get(code, "INTERNAL_ERROR")
    said = f"cannot {doing}: the {side} cluster says {error.name()}: {words}"
    return ClusterError(said, hint=_HINTS.get(code), code=named)


def _one_line(text: str) -> str:
    return " ".join(text.split()).removeprefix("Broker: ").rstrip(".")
