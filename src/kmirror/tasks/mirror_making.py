"""Making mirrors, by a verb or by themselves: destination topics as the sources' images, then the record of them."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from functools import partial
from typing import Final

from kmirror.admin.cluster import ClusterAdmin
from kmirror.admin.mirror_topic import create_mirror_topics
from kmirror.engine.alignment import fill_heads
from kmirror.errors import Conflict, KmirrorError, StateError
from kmirror.model.each import Each, split
from kmirror.model.link import Link
from kmirror.model.mirror import Mirror
from kmirror.model.states import MirrorState
from kmirror.state.links import LinkStore, link_not_found
from kmirror.tasks.mirror_plan import MirrorPlan

_OVER: Final = frozenset({MirrorState.STOPPED, MirrorState.FAILED})


def make_mirrors(
    store: LinkStore,
    link: Link,
    destination: ClusterAdmin,
    plans: Mapping[str, MirrorPlan],
    check: Callable[[Collection[str]], Mapping[str, KmirrorError]] | None = None,
) -> Each[Mirror]:
    """Makes and records them, with few requests; one that fails never stops the others. Blocks.

    `check` has the last word about topics that are made: those it objects to are not recorded.
    """
    fill = partial(fill_heads, link.destination)
    made, failed = split(create_mirror_topics(destination, [plan.new_topic for plan in plans.values()], fill))
    failed |= check(made) if check else {}
    mirrors = {
        topic: replace(plans[topic].mirror, destination_topic_id=info.topic_id)
        for topic, info in made.items()
        if topic not in failed
    }
    failed |= _record(store, link.name, mirrors)
    return {**mirrors, **failed}


def check_record(link: Link, topic: str) -> None:
    """A mirror that is over may be made anew, once its topic is gone: that is found out at the cluster."""
    known = link.mirrors.get(topic)
    if known and known.state not in _OVER:
        raise Conflict(
            f'topic "{topic}" is already a mirror of link "{link.name}"',
            hint=f"See it with `kmirror mirror describe {topic} --link {link.name}`.",
        )


def _record(store: LinkStore, link: str, mirrors: Mapping[str, Mirror]) -> dict[str, KmirrorError]:
    """Records those that nobody else recorded meanwhile; returns what went wrong, by topic."""
    failed: dict[str, KmirrorError] = {}

    def add(links: dict[str, Link]) -> None:
        if link not in links:
            raise link_not_found(link)
        for topic, mirror in mirrors.items():
            try:
                check_record(links[link], topic)
            except Conflict as e:
                failed[topic] = _unrecorded(topic, e)
            else:
                links[link] = links[link].with_mirror(mirror)

    try:
        if mirrors:
            store.change(add)
    except KmirrorError as e:
        failed |= {topic: _unrecorded(topic, e) for topic in mirrors}
    return failed


def _unrecorded(topic: str, error: KmirrorError) -> StateError:
    return StateError(
        f'topic "{topic}" was created at the destination, but the mirror could not be recorded: {error.message}',
        hint=f'Delete topic "{topic}" at the destination before you try again.',
    )
