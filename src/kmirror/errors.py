"""The whole tree of errors that kmirror raises on purpose; each is safe to show to a user.

* KmirrorError                  exit 1
  x UsageError                  exit 2   wrong words: a bad name, option, property or format
  x StateError                           links.toml or a runtime file can't be read or written
    - LinkBusy                           another process runs this link
  x NotFound                             no such link, mirror or topic
  x Conflict                             the name is taken, or the state forbids it
  x ClusterError                         a cluster refused, or does not answer
    - Unreachable                        nobody answers at these addresses
    - AuthorizationFailed                the cluster says no
  x NotReached                  exit 4   a wait ended before what it waited for; a lag is over its budget
  x SandboxError                         Java or Kafka could not be fetched or started
"""

from typing import ClassVar


class KmirrorError(Exception):
    """Base of everything kmirror raises on purpose.

    `hint` is a full sentence that says what to do next, or None.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


def with_remedy(error: Exception) -> str:
    """One line for where there is no room for a hint; what grants a missing right is too good to be left out."""
    if isinstance(error, AuthorizationFailed) and error.hint:
        return f"{error.message}. {error.hint}"
    return str(error)


class UsageError(KmirrorError):
    exit_code = 2


class StateError(KmirrorError):
    pass


class LinkBusy(StateError):
    pass


class NotFound(KmirrorError):
    pass


class Conflict(KmirrorError):
    pass


class ClusterError(KmirrorError):
    """A cluster refused or failed; `code` is the Cluster Linking name of the cause (link_error, task error)."""

    def __init__(self, message: str, *, hint: str | None = None, code: str = "INTERNAL_ERROR") -> None:
        super().__init__(message, hint=hint)
        self.code = code


class Unreachable(ClusterError):
    pass


class AuthorizationFailed(ClusterError):
    pass


class NotReached(KmirrorError):
    exit_code = 4


class SandboxError(KmirrorError):
    pass
