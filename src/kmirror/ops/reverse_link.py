"""The other direction of a link: its clusters swapped, its configurations as they are. Made when it is needed."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

from kmirror.errors import Conflict, StateError
from kmirror.model.link import DESTINATION_PREFIX, Link
from kmirror.model.mirror import Mirror
from kmirror.model.states import Event, MirrorState
from kmirror.ops.clock import now_ms
from kmirror.ops.link_create import store_link
from kmirror.state.links import LinkStore, link_not_found
from kmirror.state.paths import Home

_SUFFIX: Final = "-reverse"
_ONE_WAY: Final = (
    "cluster.link.prefix",
    "cluster.link.paused",
    "auto.create.mirror.topics.",
    "mirror.start.offset.spec",
    "metrics.address",
)
"""Say which topics are mirrored, how they are named, and where its runner is asked: of one direction alone."""

_PER_SIDE: Final = ("bootstrap.servers", "security.protocol", "client.", "sasl.", "ssl.")

_OVER: Final = frozenset({MirrorState.STOPPED, MirrorState.FAILED})


@dataclass(frozen=True, slots=True)
class ReverseLink:
    """`link` is None where it is to be made and was not yet (a dry run)."""

    name: str
    link: Link | None
    made: bool = False
    warnings: tuple[str, ...] = ()


def reverse_name(link: str) -> str:
    """`east-west` and `east-west-reverse` are each other's."""
    return link.removesuffix(_SUFFIX) if link.endswith(_SUFFIX) and link != _SUFFIX else link + _SUFFIX


def reversed_configs(configs: Mapping[str, str]) -> dict[str, str]:
    """Those of the source become the destination's, and the other way round; all others stay."""
    out = {}
    for key, value in configs.items():
        bare = key.removeprefix(DESTINATION_PREFIX)
        if bare.startswith(_ONE_WAY):
            continue
        swapped = bare if key != bare else DESTINATION_PREFIX + bare
        out[swapped if bare.startswith(_PER_SIDE) else key] = value
    return out


def reverse_link(home: Home, link: Link, name: str | None, *, make: bool) -> ReverseLink:
    """The link from `link`'s destination to its source; made with `make` where there is none.

    Raises Conflict where a link of that name goes elsewhere, and what makes a link impossible.
    """
    chosen = name or reverse_name(link.name)
    found = LinkStore(home).all().get(chosen)
    if found:
        clusters = (found.source_cluster_id, found.destination_cluster_id)
        if clusters != (link.destination_cluster_id, link.source_cluster_id):
            raise Conflict(
                f'cluster link "{chosen}" is not the reverse of "{link.name}"',
                hint="Name another with `--reverse-link`; it is made where there is none of that name.",
            )
        return ReverseLink(chosen, found)
    created = store_link(home, chosen, reversed_configs(link.configs), dry_run=not make)
    return ReverseLink(chosen, created.link if make else None, make, created.warnings)


def other_direction(mirror: Mirror, state: MirrorState, partitions: int) -> Mirror:
    """The mirror in the other direction: the source topic as a mirror of what was its mirror."""
    return Mirror(
        topic=mirror.source_topic,
        source_topic=mirror.topic,
        source_topic_id=mirror.destination_topic_id,
        destination_topic_id=mirror.source_topic_id,
        partitions=partitions,
        state=state,
        status_time_ms=now_ms(),
    )


_REPLACES: Final = MappingProxyType(
    {
        MirrorState.PENDING_MIRROR: _OVER | {MirrorState.PENDING_MIRROR},
        # A reversal that found the source written to ends here, and a restore goes on with it.
        MirrorState.PENDING_SETUP_FOR_RESTORE: _OVER
        | {MirrorState.PENDING_MIRROR, MirrorState.PENDING_SETUP_FOR_RESTORE},
    }
)
"""The states of a mirror that one which is to be set up (in the state of the key) may replace."""


def check_free(reverse: Link | None, topic: str, pending: MirrorState) -> None:
    """Raises Conflict where a mirror of this name is alive, so that none can be set up in its place."""
    known = reverse.mirrors.get(topic) if reverse else None
    if reverse and known and known.state not in _REPLACES[pending]:
        raise Conflict(
            f'topic "{topic}" is already a mirror of link "{reverse.name}" ({known.state})',
            hint=f"See it with `kmirror mirror describe {topic} --link {reverse.name}`.",
        )


def record_new(store: LinkStore, link: str, mirror: Mirror) -> None:
    """Records a mirror that is being set up; raises Conflict where one of that name is alive."""

    def add(links: dict[str, Link]) -> None:
        if link not in links:
            raise link_not_found(link)
        check_free(links[link], mirror.topic, mirror.state)
        links[link] = links[link].with_mirror(mirror)

    store.change(add)


def record_started(store: LinkStore, opposite: tuple[str, str], reverse: str, mirror: Mirror, event: Event) -> None:
    """In one replacement of the file: `mirror` is set up, and its `opposite` (link, topic) is done with it."""
    forward, topic = opposite

    def edit(links: dict[str, Link]) -> None:
        for name in (forward, reverse):
            if name not in links:
                raise link_not_found(name)
        done = links[forward].mirrors.get(topic)
        known = links[reverse].mirrors.get(mirror.topic)
        if known is None or known.state is not mirror.state or done is None:
            raise StateError(f'the links "{forward}" and "{reverse}" were changed meanwhile', hint="Run it again.")
        links[reverse] = links[reverse].with_mirror(mirror.moved(event, now_ms()))
        links[forward] = links[forward].with_mirror(replace(done, reverse_link=""))

    store.change(edit)
