"""One topic on its way from mirror to source: what was recorded says which step is next."""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from kmirror.admin.adoption import adopt_topic, kept_configs
from kmirror.admin.cluster import ClusterAdmin, TopicInfo
from kmirror.errors import Conflict, KmirrorError, NotFound, NotReached
from kmirror.model.each import the_only
from kmirror.model.link import Link
from kmirror.model.mirror import Mirror, StopRequest
from kmirror.model.states import Event, MirrorState
from kmirror.ops.clock import now_ms
from kmirror.ops.mirror_change import known_mirror, refuse
from kmirror.ops.mirror_ends import log_ends, rows
from kmirror.ops.reverse_link import ReverseLink, check_free, other_direction, record_new, record_started
from kmirror.ops.verb_rows import TopicOutcome, failed
from kmirror.process.control import nudge
from kmirror.state.links import LinkStore
from kmirror.state.paths import Home

QUIET_S: Final = 1.0
"""So long the source's ends must not move before the mirror is stopped."""


def check_reversible(link: Link, mirror: Mirror, reverse: ReverseLink) -> None:
    """Raises Conflict where the mirror can't be reversed as it stands."""
    if mirror.reverse_link and mirror.reverse_link != reverse.name:
        raise Conflict(
            f'mirror topic "{mirror.topic}" is being reversed onto link "{mirror.reverse_link}"',
            hint=f"Go on with `--reverse-link {mirror.reverse_link}`.",
        )
    check_free(reverse.link, mirror.source_topic, MirrorState.PENDING_MIRROR)
    if mirror.reverse_link and mirror.state in {MirrorState.PENDING_STOPPED, MirrorState.STOPPED}:
        return
    refuse(mirror, link.name, Event.REVERSE)


class Swap:
    """One topic: `step` does what can be done now, by what is recorded; `outcome` is set once it is over."""

    def __init__(
        self, home: Home, link: str, reverse: str, topic: str, *, event: Event, tell: Callable[[str], None]
    ) -> None:
        self.outcome: TopicOutcome | None = None
        self._home = home
        self._store = LinkStore(home)
        self._link = link
        self._reverse = reverse
        self._topic = topic
        self._event = event
        self._tell = tell
        self._source: ClusterAdmin | None = None
        self._ends: tuple[int, ...] = ()
        self._first: tuple[int, ...] = ()
        self._since = 0.0
        self._hindrance = "it has not begun"
        self._state: MirrorState | None = None

    @property
    def needs_runner(self) -> bool:
        return self.outcome is None and self._state in {MirrorState.PENDING_SYNCHRONIZE, MirrorState.PENDING_STOPPED}

    def step(self) -> None:
        try:
            link = self._store.get(self._link)
            mirror = known_mirror(link, self._topic)
            if self._done_before(mirror):
                return
            check_reversible(link, mirror, ReverseLink(self._reverse, self._store.get(self._reverse)))
            match mirror.state:
                case MirrorState.ACTIVE:
                    self._begin()
                case MirrorState.PENDING_SYNCHRONIZE:
                    self._drain(link, mirror)
                case MirrorState.PENDING_STOPPED:
                    self._hindrance = "the runner has not stopped it yet"
                case _:
                    self._turn(link, mirror)
            self._state = self._store.get(self._link).mirrors[self._topic].state
        except KmirrorError as e:
            self._state = None
            self._fail(e)

    def _fail(self, error: KmirrorError) -> None:
        self._cancel()
        self.outcome = failed(self._topic, error)

    def _done_before(self, mirror: Mirror) -> bool:
        """A call that is repeated after all was done is no error."""
        reverse = self._store.get(self._reverse).mirrors.get(mirror.source_topic)
        ids = (mirror.destination_topic_id, mirror.source_topic_id)
        if (
            mirror.state is not MirrorState.STOPPED
            or mirror.reverse_link
            or reverse is None
            or (reverse.source_topic_id, reverse.destination_topic_id) != ids
            or reverse.state not in {MirrorState.ACTIVE, MirrorState.PAUSED}
        ):
            return False
        self.outcome = TopicOutcome(self._topic, rows(mirror, mirror.end_offsets, mirror.end_offsets, mirror.state))
        return True

    def _begin(self) -> None:
        def edit(mirror: Mirror) -> Mirror:
            refuse(mirror, self._link, Event.REVERSE)
            return replace(mirror.moved(Event.REVERSE, now_ms()), reverse_link=self._reverse)

        self._store.change_mirror(self._link, self._topic, edit)
        nudge(self._home, self._link)

    def _drain(self, link: Link, mirror: Mirror) -> None:
        """Stops the mirror once the source stands still and the mirror has all of it."""
        ends, stable = self._source_ends(link, mirror)
        now = time.monotonic()
        self._first = self._first or ends
        if ends != self._ends:
            if self._ends:
                self._hindrance = f"{_moved(self._ends, ends)} while it drained: producers still write to it"
            else:
                self._tell(f'Waiting until nothing is written to source topic "{mirror.source_topic}" any more...')
            self._ends, self._since = ends, now
            return
        if stable != ends:
            number = next(n for n, end in enumerate(ends) if stable[n] != end)
            self._hindrance = f"a transaction is open at partition {number} offset {stable[number]}"
            return
        if now - self._since < QUIET_S:
            return
        reached = the_only(log_ends(link, [mirror]))
        if reached != ends:
            behind = sum(max(0, end - at) for end, at in zip(ends, reached, strict=False))
            self._hindrance = f"the mirror is still {behind:,} records behind"
            return

        def edit(found: Mirror) -> Mirror:
            refuse(found, self._link, Event.PROMOTE)
            return found.moved(Event.PROMOTE, now_ms(), stop=StopRequest(Event.PROMOTE, ends))

        self._store.change_mirror(self._link, self._topic, edit)
        nudge(self._home, self._link)

    def _source_ends(self, link: Link, mirror: Mirror) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Log ends and last stable offsets of what is the source until now."""
        self._source = self._source or ClusterAdmin(link.source, "source")
        found = _same_topic(self._source, mirror.source_topic, mirror.source_topic_id, "source")
        stable = self._source.stable_ends(mirror.source_topic, found.partitions)
        return self._source.log_ends(mirror.source_topic, found.partitions), stable

    def _turn(self, link: Link, mirror: Mirror) -> None:
        """The mirror is STOPPED: its source becomes a mirror, if it still ends where it was stopped."""
        self._check_untouched(link, mirror)
        new = other_direction(mirror, MirrorState.PENDING_MIRROR, len(mirror.end_offsets))
        new = replace(new, adopted_ends=mirror.end_offsets)
        record_new(self._store, self._reverse, new)
        primary = ClusterAdmin(link.destination, "destination")
        _same_topic(primary, mirror.topic, mirror.destination_topic_id, "destination")
        assert self._source
        own = self._source.topic_configs(mirror.source_topic)
        kept = kept_configs(own, primary.topic_configs(mirror.topic))
        held_back = adopt_topic(primary, mirror.topic, self._source, mirror.source_topic)
        starts = self._source.log_starts(mirror.source_topic, len(mirror.end_offsets))
        self._check_untouched(link, mirror)
        new = replace(new, held_back=held_back, chosen=kept, start_offsets=starts)
        record_started(self._store, (self._link, self._topic), self._reverse, new, self._event)
        self.outcome = TopicOutcome(self._topic, rows(mirror, mirror.end_offsets, mirror.end_offsets, mirror.state))

    def _check_untouched(self, link: Link, mirror: Mirror) -> None:
        """Raises Conflict where the source does not end where the mirror was stopped."""
        ends, stable = self._source_ends(link, mirror)
        if ends == stable == mirror.end_offsets:
            return
        behind = [
            f"partition {n} offsets {mirror.end_offsets[n]} to {end - 1}"
            for n, end in enumerate(ends)
            if n < len(mirror.end_offsets) and end > mirror.end_offsets[n]
        ]
        restore = f"`kmirror mirror truncate-and-restore {mirror.topic} --link {self._link}`"
        if behind:
            raise Conflict(
                f'mirror topic "{mirror.topic}" is STOPPED, but source topic "{mirror.source_topic}" was written to '
                f"after that ({', '.join(behind)}): the other direction was not started",
                hint=f"Stop its producers. {restore} saves these records, then makes it a mirror.",
            )
        raise Conflict(
            f'mirror topic "{mirror.topic}" was stopped at {list(mirror.end_offsets)}, but source topic '
            f'"{mirror.source_topic}" ends at {list(ends)}: the other direction was not started',
            hint=f"One of the two was written to meanwhile. {restore} finds out, and makes the source a mirror.",
        )

    # --- endings

    def end(self, timeout_s: float) -> None:
        """Time is over, or the caller is interrupted: what has not been stopped goes on as it was."""
        if self.outcome is not None:
            return
        if self._cancel():
            what = f'mirror topic "{self._topic}" was not reversed within {timeout_s:g} s: {self._hindrance}'
            hint = "It is ACTIVE as before. Stop the producers of the source topic, then run it again."
        else:
            what = f'mirror topic "{self._topic}" is not reversed after {timeout_s:g} s: {self._hindrance}'
            hint = "Run it again: it goes on from there."
        self.outcome = failed(self._topic, NotReached(what, hint=hint))

    def _cancel(self) -> bool:
        """What only drains is ACTIVE again; False where there is nothing to take back."""
        cancelled = []

        def edit(mirror: Mirror) -> Mirror:
            if mirror.state is not MirrorState.PENDING_SYNCHRONIZE:
                return mirror
            cancelled.append(mirror)
            return mirror.moved(Event.RESUME, now_ms())

        try:
            self._store.change_mirror(self._link, self._topic, edit)
        except NotFound:
            return False
        nudge(self._home, self._link)
        return bool(cancelled)


def _same_topic(cluster: ClusterAdmin, topic: str, topic_id: str, side: str) -> TopicInfo:
    found = cluster.topic(topic)
    if found.topic_id != topic_id:
        raise Conflict(
            f'{side} topic "{topic}" was deleted and created again since the mirror was made',
            hint="It is another topic now: mirror it anew.",
        )
    return found


def _moved(before: tuple[int, ...], now: tuple[int, ...]) -> str:
    """Which partitions moved, and from where to where."""
    moved = [f"{n} from {a} to {b}" for n, (a, b) in enumerate(zip(before, now, strict=False)) if a != b]
    return f"its source moved at partition {', '.join(moved)}" if moved else "its source has new partitions"
