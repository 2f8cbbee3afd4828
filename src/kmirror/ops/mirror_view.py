"""`mirror list` and `mirror describe`, and what the live view of one link looks at. Reads this machine alone."""

from collections.abc import Callable
from dataclasses import dataclass

from kmirror.errors import UsageError
from kmirror.model.link import Link
from kmirror.model.states import MirrorState
from kmirror.model.status import LinkStatus
from kmirror.ops.lag_budget import Late, late_mirrors
from kmirror.ops.mirror_rows import MirrorRow, PartitionRow, mirror_row, partition_rows
from kmirror.ops.seen import see
from kmirror.state.links import LinkStore, mirror_not_found
from kmirror.state.paths import Home
from kmirror.state.runtime import RunFiles


@dataclass(frozen=True, slots=True)
class MirrorList:
    """`idle` are the links that have something to copy and no runner, `silent` those whose runner says nothing.

    `late`: of those shown, the mirrors that are over the budget of lag.
    """

    rows: tuple[MirrorRow, ...]
    idle: tuple[str, ...]
    silent: tuple[str, ...]
    late: tuple[Late, ...]


@dataclass(frozen=True, slots=True)
class MirrorDescription:
    rows: tuple[PartitionRow, ...]
    idle: bool
    silent: bool
    late: tuple[Late, ...]


def mirror_state(text: str) -> MirrorState:
    """The state that the user names, in any case; raises UsageError."""
    try:
        return MirrorState(text.upper().replace("-", "_"))
    except ValueError as e:
        known = ", ".join(str(s).lower() for s in MirrorState)
        raise UsageError(f'unknown mirror status "{text}"', hint=f"Choose one of: {known}.") from e


def list_mirrors(home: Home, link: str | None, state: MirrorState | None, max_lag_ms: int | None = None) -> MirrorList:
    """Raises NotFound for a link that does not exist."""
    store = LinkStore(home)
    links = store.all().values() if link is None else [store.get(link)]
    seen = [see(home, item) for item in links]
    rows = [mirror_row(s, m) for s in seen for _, m in sorted(s.link.mirrors.items())]
    shown = tuple(row for row in rows if state is None or row.mirror_status == state)
    names = {(row.link_name, row.mirror_topic_name) for row in shown}
    late = late_mirrors(seen, max_lag_ms)
    return MirrorList(
        shown,
        idle=tuple(s.link.name for s in seen if s.idle),
        silent=tuple(s.link.name for s in seen if s.silent),
        late=tuple(m for m in late if (m.link, m.topic) in names),
    )


def describe_mirror(home: Home, link: str, topic: str, max_lag_ms: int | None = None) -> MirrorDescription:
    """Raises NotFound, StateError where the ledger of gaps is damaged."""
    found = LinkStore(home).get(link)
    if topic not in found.mirrors:
        raise mirror_not_found(link, topic)
    seen = see(home, found)
    gaps = [gap for gap in RunFiles(home, link).read_gaps() if gap.topic == topic]
    rows = partition_rows(seen, found.mirrors[topic], gaps)
    return MirrorDescription(tuple(rows), seen.idle, seen.silent, late_mirrors([seen], max_lag_ms, topic))


def watched(home: Home, link: str, topic: str | None) -> Callable[[], tuple[Link, LinkStatus | None]]:
    """What the live view asks again and again; raises NotFound at once, and when it is gone."""
    store = LinkStore(home)

    def look() -> tuple[Link, LinkStatus | None]:
        found = store.get(link)
        if topic is not None and topic not in found.mirrors:
            raise mirror_not_found(link, topic)
        seen = see(home, found)
        return found, seen.status if seen.runner else None

    look()
    return look


def watched_all(home: Home) -> Callable[[], list[tuple[Link, LinkStatus | None]]]:
    """As `watched`, of all links."""
    store = LinkStore(home)

    def look() -> list[tuple[Link, LinkStatus | None]]:
        seen = [see(home, link) for _, link in sorted(store.all().items())]
        return [(s.link, s.status if s.runner else None) for s in seen]

    return look
