"""`--max-lag`: which mirrors are later than a budget allows, for scripts that ask before they rely on one.

What can't be told is late too: a lag that is not known, one that nobody has looked at for longer than the budget. A
source that has not answered for a minute may hold a minute of records that nobody here has seen.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from kmirror.errors import NotReached
from kmirror.model.mirror import Mirror
from kmirror.model.states import MirrorState
from kmirror.model.status import PartitionStatus
from kmirror.ops.seen import Seen

_NAMED: Final = 5


@dataclass(frozen=True, slots=True)
class Late:
    """`lag_ms` is the longest of its partitions, None where that is not known."""

    topic: str
    link: str
    lag_ms: int | None
    reason: str


def late_mirrors(seen: Sequence[Seen], budget_ms: int | None, topic: str | None = None) -> tuple[Late, ...]:
    """Of all mirrors of these links, or of that one; none without a budget."""
    if budget_ms is None:
        return ()
    mirrors = [(s, m) for s in seen for _, m in sorted(s.link.mirrors.items()) if topic in {None, m.topic}]
    found = (_late(s, mirror, budget_ms) for s, mirror in mirrors)
    return tuple(late for late in found if late)


def require_in_time(late: Sequence[Late], budget: str) -> None:
    """Raises NotReached that names what is late, the worst first; `budget` as the user wrote it."""
    if not late:
        return
    worst = min(late, key=lambda m: (m.lag_ms is not None, -(m.lag_ms or 0)))
    others = [m.topic for m in late if m is not worst]
    more = f"; late too: {', '.join(others[:_NAMED])}" if others else ""
    if len(others) > _NAMED:
        more += f" and {len(others) - _NAMED} more"
    raise NotReached(
        f'mirror topic "{worst.topic}" on link "{worst.link}" is not within {budget}: {worst.reason}{more}',
        hint=f"See `kmirror mirror describe {worst.topic} --link {worst.link}`.",
    )


def _late(seen: Seen, mirror: Mirror, budget_ms: int) -> Late | None:
    if mirror.state is MirrorState.STOPPED:
        return None  # a topic of its own: it has no source to be behind
    if mirror.error:
        return Late(mirror.topic, seen.link.name, None, f"it is FAILED ({mirror.error.code})")
    found = [(_partition_lag(seen, part), number) for number, part in enumerate(seen.partitions(mirror))]
    over = [(lag, number) for lag, number in found if lag is None or lag > budget_ms]
    if not over:
        return None
    lag, number = min(over, key=lambda f: (f[0] is not None, -(f[0] or 0)))
    reason = "it is PAUSED, " if mirror.state is MirrorState.PAUSED else ""
    also = f", and {len(over) - 1} more of its {len(found)} partitions" if len(over) > 1 else ""
    part = seen.partitions(mirror)[number]
    reason += _lateness(part, number, lag) + also + _cause(seen, part)
    return Late(mirror.topic, seen.link.name, lag, reason)


def _partition_lag(seen: Seen, part: PartitionStatus | None) -> int | None:
    """The longest that it can be, in ms: of a record that waits its age by now, else the time since we know of none."""
    if part is None or part.lag is None or part.fetched_ms is None or seen.status is None:
        return None
    if part.lag == 0:
        return max(0, seen.at_ms - part.fetched_ms)
    return None if part.lag_ms is None else part.lag_ms + max(0, seen.at_ms - seen.status.updated_ms)


def _lateness(part: PartitionStatus | None, number: int, lag: int | None) -> str:
    if part is None or lag is None:
        return f"the lag of partition {number} is not known"
    if part.lag:
        return f"partition {number} is {_words(lag)} late, {part.lag:,} records"
    return f"the source has not been seen for {_words(lag)} at partition {number}"


def _cause(seen: Seen, part: PartitionStatus | None) -> str:
    if seen.runner is None:
        return ": no runner copies"
    if seen.silent:
        return ": its runner does not answer"
    return f": {part.trouble.message}" if part and part.trouble else ""


def _words(ms: int) -> str:
    return f"{ms / 1000:.1f} s" if ms < 10_000 else f"{ms // 1000} s"
