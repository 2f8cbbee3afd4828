"""An incremental fetch session (KIP-227): a broker remembers what is fetched; it is told, and tells, what has changed.

The client's side is org.apache.kafka.clients.FetchSessionHandler, the broker's FetchSession and FetchManager of
org.apache.kafka.server. What an answer leaves out has brought nothing: no records, no error, no nearer replica, the
same high watermark and log start as it was last told (CachedPartition.maybeUpdateResponseData). An answer that is
throttled is empty, and tells nothing of any partition (FetchContext.getThrottledResponse).
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Final

from kmirror.wire.errors import (
    FETCH_SESSION_ID_NOT_FOUND,
    FETCH_SESSION_TOPIC_ID_ERROR,
    INVALID_FETCH_SESSION_EPOCH,
    NONE,
)
from kmirror.wire.fetch import FetchPartition

NO_SESSION: Final = 0
INITIAL_EPOCH: Final = 0
FINAL_EPOCH: Final = -1
_LAST_EPOCH: Final = 2**31 - 1  # 1 follows it
_OVER: Final = frozenset({FETCH_SESSION_ID_NOT_FOUND, INVALID_FETCH_SESSION_EPOCH, FETCH_SESSION_TOPIC_ID_ERROR})


@dataclass(frozen=True, slots=True)
class SessionRequest:
    """What the next fetch carries. A full one has all partitions; of an incremental one the broker knows the others."""

    session: tuple[int, int]
    """Id and epoch."""
    partitions: Sequence[FetchPartition]
    forgotten: Sequence[FetchPartition]

    @property
    def is_full(self) -> bool:
        return self.session[1] == INITIAL_EPOCH


class FetchSession:
    """What is to be fetched over one connection, by keys of the caller's, and what the broker knows of it.

    One request at a time: `next_request`, then `answered` or `lost`. Where the broker gives no session (its cache is
    full, see max.incremental.fetch.session.cache.slots) each request is a full one.
    """

    def __init__(self) -> None:
        self._wanted: dict[Hashable, FetchPartition] = {}
        self._changed: dict[Hashable, None] = {}
        self._known: dict[Hashable, FetchPartition] = {}
        self._id = NO_SESSION
        self._epoch = INITIAL_EPOCH
        self._turn = 0

    def want(self, key: Hashable, partition: FetchPartition) -> None:
        """From the next request on it is fetched like that, until it is dropped."""
        self._wanted[key] = partition
        self._changed[key] = None

    def drop(self, key: Hashable) -> None:
        if self._wanted.pop(key, None) is not None:
            self._changed[key] = None

    def knows(self, key: Hashable) -> bool:
        """The broker has been told of it, and not to forget it: the next answer may leave it out."""
        return self._epoch != INITIAL_EPOCH and key in self._known

    def next_request(self) -> SessionRequest:
        if self._epoch == INITIAL_EPOCH:
            self._known = dict(self._wanted)
            self._changed.clear()
            return SessionRequest((self._id, INITIAL_EPOCH), self._rotated(), ())
        told, forgotten = [], []
        for key in self._changed:
            wanted, known = self._wanted.get(key), self._known.get(key)
            if wanted is None:
                if known is not None:
                    forgotten.append(self._known.pop(key))
            elif wanted != known:
                told.append(wanted)
                self._known[key] = wanted
        self._changed.clear()
        return SessionRequest((self._id, self._epoch), told, forgotten)

    def _rotated(self) -> list[FetchPartition]:
        """A full request begins with another one each time: the first may take all the room of an answer.

        In a session the broker sees to that: what had records goes to the end.
        """
        all_ = list(self._wanted.values())
        self._turn = (self._turn + 1) % max(1, len(all_))
        return all_[self._turn :] + all_[: self._turn]

    def answered(self, error: int, session_id: int) -> bool:
        """Takes what an answer says of the session; whether the session alone is at fault: then it is asked anew."""
        was_full = self._epoch == INITIAL_EPOCH
        if error != NONE:
            self.restart()
            if error == FETCH_SESSION_ID_NOT_FOUND:
                self._id = NO_SESSION
            return error in _OVER and not was_full
        if session_id == NO_SESSION or (session_id != self._id and not was_full):
            self.restart()
            self._id = NO_SESSION
        else:
            self._id = session_id
            self._epoch = 1 if self._epoch == _LAST_EPOCH else self._epoch + 1
        return False

    def restart(self) -> None:
        """The next request ends this session and begins another, which tells all anew."""
        self._epoch = INITIAL_EPOCH

    lost = restart
    """No answer came: the broker may have taken the request or not."""

    def final_request(self) -> SessionRequest | None:
        """Ends the session at the broker, over any connection to it; None where there is none. Nothing comes after."""
        if self._id == NO_SESSION:
            return None
        ended, self._id, self._epoch = self._id, NO_SESSION, INITIAL_EPOCH
        return SessionRequest((ended, FINAL_EPOCH), (), ())
