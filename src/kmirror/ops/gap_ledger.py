"""`kmirror gaps`: what mirrors do not have because retention removed it at the source before it could be copied."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from kmirror.admin.cluster import ClusterAdmin
from kmirror.admin.verify import times_around
from kmirror.errors import KmirrorError
from kmirror.model.ledger import LostGap
from kmirror.model.link import Link
from kmirror.state.links import LinkStore, mirror_not_found
from kmirror.state.paths import Home
from kmirror.state.runtime import RunFiles
from kmirror.wire.reach import check_reachable

_REACH_S: Final = 2.0
_TIMED: Final = 100  # the last ones: each costs a look into the mirror


@dataclass(frozen=True, slots=True)
class GapRow:
    """`count` offsets from `offset` on, found at `found_ms` (ms since the epoch).

    What is missing came after `after_ms` and before `before_ms`, the timestamps of the mirror's records beside the gap.
    None: not known, because the mirror has none there (any more), or can't be reached.
    """

    link_name: str
    mirror_topic_name: str
    partition: int
    offset: int
    count: int
    after_ms: int | None
    before_ms: int | None
    found_ms: int
    reason: str


def list_gaps(home: Home, link: str | None, topic: str | None) -> list[GapRow]:
    """The ledgers' entries, oldest first; raises NotFound for a link or topic that does not exist, StateError."""
    store = LinkStore(home)
    links = list(store.all().values()) if link is None else [store.get(link)]
    if topic is not None and link is not None and topic not in links[0].mirrors:
        raise mirror_not_found(link, topic)
    rows = []
    for found in links:
        gaps = RunFiles(home, found.name).read_gaps()
        rows += _rows(found, [gap for gap in gaps if topic in {None, gap.topic}])
    return rows


def _rows(link: Link, gaps: Sequence[LostGap]) -> list[GapRow]:
    reachable = bool(gaps) and _reachable(link)
    untimed = len(gaps) - _TIMED
    rows = []
    for number, gap in enumerate(gaps):
        after_ms, before_ms = _times(link, gap) if reachable and number >= untimed else (None, None)
        place = (link.name, gap.topic, gap.partition, gap.offset, gap.count)
        rows.append(GapRow(*place, after_ms, before_ms, gap.found_ms, gap.reason))
    return rows


def _reachable(link: Link) -> bool:
    try:
        check_reachable(link.destination, "destination", _REACH_S)
    except KmirrorError:  # the ledger itself is told all the same
        return False
    return True


def _times(link: Link, gap: LostGap) -> tuple[int | None, int | None]:
    try:
        admin = ClusterAdmin(link.destination, "destination")
        count = admin.topic(gap.topic).partitions
        bounds = range(
            admin.log_starts(gap.topic, count)[gap.partition], admin.log_ends(gap.topic, count)[gap.partition]
        )
        lost = range(gap.offset, gap.offset + gap.count)
        return times_around(link.destination, gap.topic, gap.partition, lost, bounds)
    except (KmirrorError, IndexError):  # the topic is gone, or is another one now
        return None, None
