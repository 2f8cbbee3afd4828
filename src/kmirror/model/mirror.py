"""A mirror: a destination topic, the source topic it copies, and what the user wants of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from kmirror.model.group_offsets import Committed
from kmirror.model.states import Event, MirrorState, after


@dataclass(frozen=True, slots=True)
class MirrorError:
    """Why a mirror is FAILED: a code of Cluster Linking's or ours, a sentence, and the place.

    `partition` and `offset` (of the record at which the copy stopped) are None where the cause is the whole topic.
    """

    code: str
    message: str
    partition: int | None = None
    offset: int | None = None


@dataclass(frozen=True, slots=True)
class StopRequest:
    """A promote or failover under way.

    `targets` are the source's last stable offsets at the moment of the promote, one a partition: the mirror stops when
    it has reached them. A failover has none.
    """

    event: Event
    targets: tuple[int, ...] = ()


GroupOffsets = Mapping[str, Mapping[int, Committed]]
"""Committed offsets of one topic, by group and partition."""


@dataclass(frozen=True, slots=True)
class Restore:
    """A truncate-and-restore under way, of a topic that was the source: what is needed once that topic is gone.

    `configs` are the topic's own. `ends` are its log ends when its records were saved in the file `saved`, which is
    "" before that; `groups` get these offsets committed again.
    """

    topic_id: str
    replication_factor: int
    configs: Mapping[str, str]
    ends: tuple[int, ...] = ()
    saved: str = ""
    groups: GroupOffsets = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Mirror:
    """What is remembered of a mirror. Times are milliseconds since the epoch; topic ids are Kafka's (KIP-516)."""

    topic: str
    source_topic: str
    source_topic_id: str
    destination_topic_id: str
    partitions: int
    state: MirrorState
    status_time_ms: int
    error: MirrorError | None = None
    stop: StopRequest | None = None
    start_offsets: tuple[int, ...] = ()
    """Where each partition began when the mirror was made; later partitions begin at 0."""
    end_offsets: tuple[int, ...] = ()
    """Of a mirror that is STOPPED: where each partition ended; what lies beyond is not the mirror's."""
    chosen: Mapping[str, str] = field(default_factory=dict)
    """Topic configs that were given for this mirror: they don't follow the source."""
    held_back: Mapping[str, str] = field(default_factory=dict)
    """Topic configs of the source that the mirror may not have yet: set when it becomes a topic of its own."""
    reverse_link: str = ""
    """Of a mirror that is being reversed: the link on which the other direction starts."""
    adopted_ends: tuple[int, ...] = ()
    """Of a mirror whose topic was there before it: clients wrote what lies below, and it was found to be equal."""
    restore: Restore | None = None

    def moved(
        self,
        event: Event,
        now_ms: int,
        *,
        error: MirrorError | None = None,
        stop: StopRequest | None = None,
    ) -> "Mirror":
        """The mirror after `event`; raises ValueError where the table of states has no such step."""
        state = after(self.state, event)
        if state is None:
            raise ValueError(f"{self.state} does not follow {event}")
        kept = stop if stop is not None else (self.stop if state is MirrorState.PENDING_STOPPED else None)
        time_ms = self.status_time_ms if state is self.state else now_ms
        reverse = self.reverse_link if event in _WHILE_REVERSED else ""
        return replace(self, state=state, status_time_ms=time_ms, error=error, stop=kept, reverse_link=reverse)


_WHILE_REVERSED = frozenset({Event.REVERSE, Event.PROMOTE, Event.STOPPED})
"""The steps of a reversal; any other ends it."""
