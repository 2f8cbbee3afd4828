"""What a broker or a connection can answer, sorted as Kafka's own clients sort it.

Names and retriable class of each code are those of kafka-python's table of org.apache.kafka.common.protocol.Errors.
"""

from typing import Final

from kafka.errors import for_code

from kmirror.errors import ClusterError, Unreachable

NONE: Final = 0
OFFSET_OUT_OF_RANGE: Final = 1
CORRUPT_MESSAGE: Final = 2
UNKNOWN_TOPIC_OR_PARTITION: Final = 3
TOPIC_AUTHORIZATION_FAILED: Final = 29
CLUSTER_AUTHORIZATION_FAILED: Final = 31
OUT_OF_ORDER_SEQUENCE_NUMBER: Final = 45
DUPLICATE_SEQUENCE_NUMBER: Final = 46
INVALID_PRODUCER_EPOCH: Final = 47
INVALID_PRODUCER_ID_MAPPING: Final = 49
CONCURRENT_TRANSACTIONS: Final = 51
TRANSACTIONAL_ID_AUTHORIZATION_FAILED: Final = 53
OPERATION_NOT_ATTEMPTED: Final = 55
UNKNOWN_PRODUCER_ID: Final = 59
FETCH_SESSION_ID_NOT_FOUND: Final = 70
INVALID_FETCH_SESSION_EPOCH: Final = 71
PRODUCER_FENCED: Final = 90
UNKNOWN_TOPIC_ID: Final = 100
TRANSACTIONAL_ID_NOT_FOUND: Final = 105
FETCH_SESSION_TOPIC_ID_ERROR: Final = 106

_AUTHORIZATION: Final = frozenset({29, 30, 31, 53, 65})
_LINK: Final = frozenset({31, 33, 34, 53, 58})

REOPEN_AFTER_PRODUCE: Final = frozenset(
    {
        CORRUPT_MESSAGE,
        OUT_OF_ORDER_SEQUENCE_NUMBER,
        DUPLICATE_SEQUENCE_NUMBER,
        INVALID_PRODUCER_EPOCH,
        UNKNOWN_PRODUCER_ID,
    }
)
"""Not retriable by themselves, but cured by reading the log end, the epoch and the last sequence anew.

A corrupt message in a produce response means bytes damaged on the way: Java's CorruptRecordException is retriable.
"""


class ConnectionLost(Unreachable):
    """The connection is gone: what was in flight on it may or may not have been done."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message, hint=hint, code="BOOTSTRAP_TCP_CONNECTION_FAILED_ERROR")


class AuthenticationFailed(ClusterError):
    """The broker does not believe who we are, or we don't believe who it is."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message, hint=hint, code="AUTHENTICATION_ERROR")


class WrongProtocol(ClusterError):
    """The listener is not for the security protocol that we speak."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message, hint=hint, code="MISCONFIGURATION_ERROR")


class ProtocolError(ClusterError):
    """Bytes that are not what the protocol says."""


class UnsupportedVersion(ClusterError):
    """The broker and kmirror have no common version of a request."""


class BrokerError(ClusterError):
    """A Kafka error code in an answer; `kafka_code` is its number."""

    def __init__(self, kafka_code: int, where: str) -> None:
        name = error_name(kafka_code)
        super().__init__(f"{where}: {name} (error {kafka_code})", code=link_code(kafka_code))
        self.kafka_code = kafka_code

    @property
    def retriable(self) -> bool:
        return is_retriable(self.kafka_code)

    @property
    def fatal_for_link(self) -> bool:
        """Nothing of the link can work until somebody changes rights or credentials."""
        return self.kafka_code in _LINK


def check(kafka_code: int, where: str) -> None:
    """Raises BrokerError unless `kafka_code` is 0."""
    if kafka_code != NONE:
        raise BrokerError(kafka_code, where)


def is_retriable(kafka_code: int) -> bool:
    return bool(for_code(kafka_code).retriable)


def is_authorization(kafka_code: int) -> bool:
    """A right is missing: somebody may grant it, so the copy waits and says so."""
    return kafka_code in _AUTHORIZATION


def error_name(kafka_code: int) -> str:
    return str(for_code(kafka_code).__name__).removesuffix("Error")


def link_code(kafka_code: int) -> str:
    """The code of Cluster Linking's link and task errors that fits."""
    if is_authorization(kafka_code):
        return "AUTHORIZATION_ERROR"
    if kafka_code in {33, 34, 58}:
        return "AUTHENTICATION_ERROR"
    if kafka_code == UNKNOWN_TOPIC_OR_PARTITION:
        return "UNKNOWN_TOPIC_OR_PARTITION_ERROR"
    return "INTERNAL_ERROR"
