"""Which right is missing where a broker refuses what the engine asks, and the command that grants it."""

from collections.abc import Iterator
from contextlib import contextmanager

from kmirror.errors import AuthorizationFailed, ClusterError
from kmirror.model.access import Access
from kmirror.model.rights import Need, to_grant
from kmirror.wire.errors import (
    CLUSTER_AUTHORIZATION_FAILED,
    TOPIC_AUTHORIZATION_FAILED,
    TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
    BrokerError,
)


def explained(
    error: ClusterError, access: Access, transactional_id: str = "", *, need: Need | None = None
) -> ClusterError:
    """The error with what to grant, if a right is missing; `need` is that on the topic, if it was one on a topic."""
    missing = _missing(error, transactional_id, need)
    return AuthorizationFailed(error.message, hint=to_grant(access, missing), code=error.code) if missing else error


@contextmanager
def explaining(access: Access, transactional_id: str) -> Iterator[None]:
    """Raises what is raised in it as `explained` has it; what needs no explanation as it is, never as its own cause."""
    try:
        yield
    except ClusterError as e:
        better = explained(e, access, transactional_id)
        if better is e:
            raise
        raise better from e


def _missing(error: BaseException | None, transactional_id: str, need: Need | None) -> Need | None:
    if error is None:
        return None
    if not isinstance(error, BrokerError):
        return _missing(error.__cause__, transactional_id, need)  # the source's, in the words of an opening
    needs = {
        TOPIC_AUTHORIZATION_FAILED: need,
        CLUSTER_AUTHORIZATION_FAILED: Need("CLUSTER", "ALTER"),
        TRANSACTIONAL_ID_AUTHORIZATION_FAILED: Need(
            "TRANSACTIONAL_ID", "WRITE", transactional_id.rpartition(".")[0] + "."
        ),
    }
    return needs.get(error.kafka_code)
