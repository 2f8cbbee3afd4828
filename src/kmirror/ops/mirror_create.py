"""Making a mirror: the destination topic as the source's image, then the record of it, then somebody who copies."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from kmirror.admin.cluster import ClusterAdmin, TopicInfo
from kmirror.admin.mirror_configs import MirrorConfigs, mirror_configs
from kmirror.admin.mirror_topic import check_replication, create_mirror_topic
from kmirror.engine.alignment import fill_heads
from kmirror.errors import Conflict, KmirrorError, LinkBusy, NotFound, StateError, UsageError
from kmirror.model.link import Link, name_fault
from kmirror.model.mirror import Mirror
from kmirror.model.settings import value_of
from kmirror.model.states import MirrorState
from kmirror.ops.clock import now_ms
from kmirror.ops.config_text import parse_config
from kmirror.ops.mirror_start import start_offsets
from kmirror.process.control import nudge
from kmirror.process.detached import running, start_runner
from kmirror.state.links import LinkStore, link_not_found
from kmirror.state.lock import Runner
from kmirror.state.paths import Home
from kmirror.wire.reach import check_reachable

_OVER = frozenset({MirrorState.STOPPED, MirrorState.FAILED})
_MIN_ISR = "min.insync.replicas"


@dataclass(frozen=True, slots=True)
class MirrorCreated:
    """`runner` is None where none was to be started, or where it failed: then `fault` says why."""

    mirror: Mirror
    runner: Runner | None
    fault: KmirrorError | None = None


def create_mirror(
    home: Home,
    topic: str,
    link: str,
    *,
    source_topic: str | None = None,
    replication_factor: int | None = None,
    config: Sequence[str] = (),
    start: bool = True,
    foreground: bool = False,
) -> MirrorCreated:
    """Raises UsageError, NotFound, Conflict, ClusterError; then nothing was changed unless the message says so.

    `foreground`: the caller is going to run the link itself, so no other process may.
    """
    named = source_topic or topic
    for name in (topic, named):
        _check_name(name)
    chosen = parse_config(config)
    found = LinkStore(home).get(link)
    _check_record(found, topic)
    if foreground and (busy := running(home, link)):
        raise LinkBusy(
            f'link "{link}" is already running on this machine (pid {busy.pid})',
            hint=f"Stop it with `kmirror link stop {link}`, or leave `--foreground` out.",
        )
    mirror = _make_topic(found, topic, named, replication_factor, chosen)
    _record(home, link, mirror)
    if foreground:
        return MirrorCreated(mirror, None)
    return _set_going(home, link, mirror, start=start)


def _check_name(name: str) -> None:
    fault = name_fault(name)
    if fault:
        raise UsageError(f'topic name "{name}" {fault}', hint="Choose another name.")
    if name.startswith("__"):
        raise UsageError(f'topic "{name}" is internal', hint="Internal topics belong to their cluster alone.")


def _check_record(link: Link, topic: str) -> None:
    """A mirror that is over may be made anew, once its topic is gone: that is found out at the cluster."""
    known = link.mirrors.get(topic)
    if known and known.state not in _OVER:
        raise Conflict(
            f'topic "{topic}" is already a mirror of link "{link.name}"',
            hint=f"See it with `kmirror mirror describe {topic} --link {link.name}`.",
        )


def _make_topic(
    link: Link, topic: str, source_topic: str, replication_factor: int | None, chosen: dict[str, str]
) -> Mirror:
    check_reachable(link.source_bootstrap, "source")
    source = ClusterAdmin(link.source_bootstrap, "source")
    original = _source_topic(source, source_topic, link)
    check_reachable(link.destination_bootstrap, "destination")
    destination = ClusterAdmin(link.destination_bootstrap, "destination")
    if destination.find_topic(topic):
        raise Conflict(
            f'topic "{topic}" already exists',
            hint="Delete it at the destination, or choose another name with "
            f"`kmirror mirror create NAME --source-topic {source_topic} --link {link.name}`.",
        )
    source_configs = source.topic_configs(source_topic)
    plan = mirror_configs(source_configs, chosen)
    _check_min_isr(destination, plan, replication_factor)
    starts = start_offsets(
        source, source_topic, original.partitions, value_of(link.configs, "mirror.start.offset.spec")
    )
    made = create_mirror_topic(
        destination,
        topic,
        partitions=original.partitions,
        replication_factor=replication_factor,
        plan=plan,
        source=source_configs,
        chosen=chosen,
        starts={partition: start for partition, start in enumerate(starts) if start > 0},
        fill_heads=partial(fill_heads, link.destination_bootstrap),
    )
    return Mirror(
        topic=topic,
        source_topic=source_topic,
        source_topic_id=original.topic_id,
        destination_topic_id=made.topic_id,
        partitions=original.partitions,
        start_offsets=starts,
        state=MirrorState.ACTIVE,
        status_time_ms=now_ms(),
        held_back=plan.held_back,
    )


def _source_topic(source: ClusterAdmin, name: str, link: Link) -> TopicInfo:
    found = source.find_topic(name)
    if found:
        return found
    near = difflib.get_close_matches(name, [t for t in source.topics() if not t.startswith("__")], n=3)
    meant = f"Did you mean {' or '.join(near)}?" if near else "Check its name, and the right to describe it."
    raise NotFound(f'source topic "{name}" not found on the source cluster of link "{link.name}"', hint=meant)


def _check_min_isr(destination: ClusterAdmin, plan: MirrorConfigs, replication_factor: int | None) -> None:
    if _MIN_ISR not in plan.configs:
        return
    factor = replication_factor or destination.default_replication_factor()
    if factor is not None:
        check_replication(plan.configs, factor)


def _record(home: Home, link: str, mirror: Mirror) -> None:
    def add(links: dict[str, Link]) -> None:
        if link not in links:
            raise link_not_found(link)
        _check_record(links[link], mirror.topic)
        links[link] = links[link].with_mirror(mirror)

    try:
        LinkStore(home).change(add)
    except KmirrorError as e:
        raise StateError(
            f'topic "{mirror.topic}" was created at the destination, but the mirror could not be recorded: {e.message}',
            hint=f'Delete topic "{mirror.topic}" at the destination before you try again.',
        ) from e


def _set_going(home: Home, link: str, mirror: Mirror, *, start: bool) -> MirrorCreated:
    """A runner that runs is told; else one is started. What goes wrong here does not undo the mirror."""
    try:
        found = running(home, link)
        if found:
            nudge(home, link)
        elif start:
            found = start_runner(home, link)
    except KmirrorError as e:
        return MirrorCreated(mirror, None, e)
    return MirrorCreated(mirror, found)
