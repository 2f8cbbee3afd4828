"""`kmirror gaps`: what mirrors do not have because retention removed it at the source before it could be copied."""

from collections.abc import Sequence
from dataclasses import dataclass

from kmirror.model.ledger import LostGap
from kmirror.state.links import LinkStore, mirror_not_found
from kmirror.state.paths import Home
from kmirror.state.runtime import RunFiles


@dataclass(frozen=True, slots=True)
class GapRow:
    """`count` offsets from `offset` on, found at `found_ms` (ms since the epoch)."""

    link_name: str
    mirror_topic_name: str
    partition: int
    offset: int
    count: int
    found_ms: int
    reason: str


def list_gaps(home: Home, link: str | None, topic: str | None) -> list[GapRow]:
    """The ledgers' entries, oldest first; raises NotFound for a link or topic that does not exist, StateError."""
    store = LinkStore(home)
    names = list(store.all()) if link is None else [store.get(link).name]
    if topic is not None and link is not None and topic not in store.get(link).mirrors:
        raise mirror_not_found(link, topic)
    return [
        GapRow(name, gap.topic, gap.partition, gap.offset, gap.count, gap.found_ms, gap.reason)
        for name in names
        for gap in lost_of(home, name, topic)
    ]


def lost_of(home: Home, link: str, topic: str | None) -> Sequence[LostGap]:
    """The entries of one link, and of one topic if it is named. Raises StateError."""
    return [gap for gap in RunFiles(home, link).read_gaps() if topic in {None, gap.topic}]
