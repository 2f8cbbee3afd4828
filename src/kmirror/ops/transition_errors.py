"""`mirror state-transition-error list`: why a mirror that is on its way to another state does not get there."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from kmirror.model.mirror import Mirror
from kmirror.model.states import Event, MirrorState
from kmirror.model.status import PartitionStatus
from kmirror.ops.mirror_change import known_mirror
from kmirror.ops.mirror_rows import error_text
from kmirror.ops.seen import Seen, see
from kmirror.state.links import LinkStore
from kmirror.state.paths import Home

NO_RUNNER: Final = "LINK_COORDINATOR_NOT_ENABLED_ERROR"
"""Cluster Linking's name for a link that nobody works for; kmirror's coordinator is the runner."""
LAGS: Final = "MIRROR_LAG_ERROR"
WAITS_FOR_VERB: Final = "INVALID_REQUEST_ERROR"

_BY_RUNNER: Final = frozenset({MirrorState.PENDING_STOPPED, MirrorState.PENDING_SYNCHRONIZE})
_BY_VERB: Final = {
    MirrorState.PENDING_MIRROR: "reverse-and-start",
    MirrorState.PENDING_SETUP_FOR_RESTORE: "truncate-and-restore",
    MirrorState.PENDING_RESTORE: "truncate-and-restore",
}
"""What these states wait for is done by the verb itself, not by the runner."""


@dataclass(frozen=True, slots=True)
class TransitionError:
    """Field names are Cluster Linking's JSON keys."""

    error_code: str
    error_message: str


def transition_errors(home: Home, link: str, topic: str) -> list[TransitionError]:
    """Each reason once; none for a mirror that is not on its way, or that nothing holds up. Raises NotFound."""
    found = LinkStore(home).get(link)
    mirror = known_mirror(found, topic)
    return list(dict.fromkeys(reasons(see(home, found), mirror)))


def reasons(seen: Seen, mirror: Mirror) -> Iterator[TransitionError]:
    if mirror.state is MirrorState.FAILED and mirror.error:
        yield TransitionError(mirror.error.code, error_text(mirror.error))
    elif mirror.state in _BY_VERB:
        verb = _BY_VERB[mirror.state]
        yield TransitionError(
            WAITS_FOR_VERB, f"{mirror.state} since `kmirror mirror {verb}` was interrupted: run it again to go on"
        )
    elif mirror.state in _BY_RUNNER:
        yield from _held_up(seen, mirror)


def _held_up(seen: Seen, mirror: Mirror) -> Iterator[TransitionError]:
    name = seen.link.name
    if seen.runner is None:
        yield TransitionError(
            NO_RUNNER, f'no runner of link "{name}" runs on this machine: start it with `kmirror link start {name}`'
        )
        return
    if seen.silent:
        yield TransitionError(NO_RUNNER, f'the runner of link "{name}" does not answer: see `kmirror link logs {name}`')
        return
    status = seen.fresh
    if status is None:
        return  # it has just started, and told nothing yet
    if seen.link.paused:
        yield TransitionError(WAITS_FOR_VERB, f'link "{name}" is paused: `kmirror link resume {name}` lets it go on')
    if status.trouble:
        yield TransitionError(status.trouble.code, status.trouble.message)
    shown = status.mirrors.get(mirror.topic)
    if shown and shown.trouble:
        yield TransitionError(shown.trouble.code, shown.trouble.message)
    for number, part in enumerate(seen.partitions(mirror)):
        yield from _partition(mirror, number, part)


def _partition(mirror: Mirror, number: int, part: PartitionStatus | None) -> Iterator[TransitionError]:
    if part and part.error:
        yield TransitionError(part.error.code, f"partition {number}: {part.error.message}")
    elif part and part.trouble:
        yield TransitionError(part.trouble.code, f"partition {number}: {part.trouble.message}")
    target = _target(mirror, number, part)
    reached = part.log_end if part and part.log_end is not None else None
    if target is None or (reached is not None and reached >= target):
        return
    behind = "how far it is, is not known yet" if reached is None else f"{target - reached:,} offsets are to be copied"
    yield TransitionError(LAGS, f"partition {number}: has to reach offset {target}, {behind}")


def _target(mirror: Mirror, number: int, part: PartitionStatus | None) -> int | None:
    """Where the partition has to come before the mirror can go on; None for a failover, which waits for nothing."""
    if mirror.state is MirrorState.PENDING_SYNCHRONIZE:
        return part.source_end if part else None
    stop = mirror.stop
    if stop is None or stop.event is not Event.PROMOTE:
        return None
    return stop.targets[number] if number < len(stop.targets) else None
