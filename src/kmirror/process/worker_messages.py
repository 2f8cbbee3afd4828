"""The messages between a runner (the lead of its link) and its workers: see `process/lead.py`, `process/worker.py`."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from kmirror.engine.counters import RunCounters
from kmirror.engine.identity import Renewed, Superseded
from kmirror.errors import AuthorizationFailed, ClusterError, KmirrorError, Unreachable
from kmirror.model.ledger import LostGap
from kmirror.model.link import Link
from kmirror.model.mirror import Mirror, MirrorError
from kmirror.model.settings import LinkSettings
from kmirror.model.status import MirrorStatus
from kmirror.wire.topics import Place

# --- from the lead


@dataclass(frozen=True, slots=True)
class Begin:
    """The first: which of how many workers this one is. `settings` are its share of the link's."""

    link: Link
    settings: LinkSettings
    number: int
    workers: int


@dataclass(frozen=True, slots=True)
class Wanted:
    """Mirrors that are new or have changed since the message before, and those that are gone.

    `version` grows by one with each: what a worker tells of a mirror holds for what it knew by then.
    """

    version: int
    changed: Mapping[str, Mirror]
    gone: frozenset[str]
    paused: bool


@dataclass(frozen=True, slots=True)
class IoLimit:
    """Its part of cluster.link.io.max.bytes.per.second from now on."""

    bytes_per_s: int


@dataclass(frozen=True, slots=True)
class Hold:
    """The run's identity, and whether the lead holds the link with it."""

    producer_id: int | None
    run_token: int | None
    held_since: int | None
    is_first: bool
    held: bool


@dataclass(frozen=True, slots=True)
class Look:
    """Asks for `Seen`. It comes every few seconds: without it a worker takes its lead for frozen."""

    hold: Hold


@dataclass(frozen=True, slots=True)
class Refusal:
    """An error, by what is told of it and the kinds that a worker tells apart."""

    kind: type[KmirrorError]
    message: str
    hint: str | None
    code: str | None

    @classmethod
    def of(cls, error: KmirrorError) -> "Refusal":
        kind = next(kind for kind in _KINDS if isinstance(error, kind))
        return cls(kind, error.message, error.hint, getattr(error, "code", None))

    def error(self) -> KmirrorError:
        if issubclass(self.kind, ClusterError):
            return self.kind(self.message, hint=self.hint, code=self.code or "INTERNAL_ERROR")
        return self.kind(self.message, hint=self.hint)


_KINDS: Final = (Superseded, Renewed, AuthorizationFailed, Unreachable, ClusterError, KmirrorError)


@dataclass(frozen=True, slots=True)
class Answer:
    """To `Ask`: the value, or the error that was raised."""

    number: int
    hold: Hold
    value: Any = None
    refusal: "Refusal | None" = None


@dataclass(frozen=True, slots=True)
class Stop:
    """What is in flight is waited for, then the worker ends."""


# --- from a worker


@dataclass(frozen=True, slots=True)
class Lease:
    """Asks until when markers may be sent (`Identity.lease`)."""


@dataclass(frozen=True, slots=True)
class Renew:
    """Asks for another run token than this one (`Identity.renew`)."""

    token: int | None


@dataclass(frozen=True, slots=True)
class TakeOffsets:
    """Asks for an empty transaction of the link itself (`Identity.take_offsets`)."""

    token: int
    places: Collection[Place]


@dataclass(frozen=True, slots=True)
class Lost:
    """Asks to have it written into the ledger."""

    gap: LostGap


Question = Lease | Renew | TakeOffsets | Lost


@dataclass(frozen=True, slots=True)
class Ask:
    number: int
    what: Question


@dataclass(frozen=True, slots=True)
class Doubt:
    """The run token may be another's."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The mirror can't go on."""

    version: int
    topic: str
    error: MirrorError


@dataclass(frozen=True, slots=True)
class Ended:
    """Of a mirror that is to be stopped: nothing of this worker lands any more in its partitions."""

    version: int
    topic: str


@dataclass(frozen=True, slots=True)
class Seen:
    """How it stands; `counters` are of the worker's whole life."""

    mirrors: Mapping[str, MirrorStatus]
    counters: RunCounters
    buffer_held: int


@dataclass(frozen=True, slots=True)
class Logged:
    """A record of the log, without what can't be sent."""

    record: Mapping[str, Any] = field(repr=False)
