"""Which mirrors AutoCreateMirror makes: a pure function of both clusters' topics and what is recorded."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from kmirror.model.filters import NameFilters
from kmirror.model.link import Link, name_fault
from kmirror.model.naming import is_internal
from kmirror.model.states import MirrorState


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why there is no mirror of a source topic: Cluster Linking's code, and a sentence."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class AutoCreatePlan:
    """`wanted` is mirror to source topic. `chosen` counts all source topics that the filters choose."""

    wanted: Mapping[str, str]
    refused: tuple[Refusal, ...]
    chosen: int


def plan_mirrors_of(
    link: Link, filters: NameFilters, source: Collection[str], destination: Collection[str], back: Collection[str]
) -> AutoCreatePlan:
    """`source` and `destination` are the topics there; `back` those of the source that mirror the destination's.

    A topic of which a mirror was ever recorded is left alone: who promoted it, or deleted it, wants it so.
    """
    known = {mirror.source_topic for mirror in link.mirrors.values()}
    chosen = sorted(t for t in source if filters.chooses(t) and not is_internal(t))
    wanted, refused = {}, []
    for topic in chosen:
        name = link.prefix + topic
        if topic in known or topic in back or name in link.mirrors:
            continue
        fault = name_fault(name)
        if fault:
            refused.append(Refusal("INVALID_TOPIC", f'source topic "{topic}": the name "{name[:60]}..." {fault}'))
        elif name in destination:
            message = f'source topic "{topic}": topic "{name}" exists at the destination, and is no mirror of this link'
            refused.append(Refusal("TOPIC_EXISTS_ERROR", message))
        else:
            wanted[name] = topic
    return AutoCreatePlan(wanted, tuple(refused), len(chosen))


def mirrored_back(links: Collection[Link], link: Link) -> set[str]:
    """Topics of our source that are mirrors of our destination's, on links the other way: they would go in a circle."""
    ways = (link.destination_cluster_id, link.source_cluster_id)
    return {
        mirror.topic
        for other in links
        if (other.source_cluster_id, other.destination_cluster_id) == ways
        for mirror in other.mirrors.values()
        if mirror.state is not MirrorState.STOPPED
    }
