"""`mirror promote` and `mirror failover`: the stop is recorded, the runner executes it, and we wait for that.

Promote: the mirror goes on to the source's last stable offsets of this moment, so that traffic that goes on does not
hold it up. Failover: it ends where it is, and never needs the source.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from kmirror.admin.many_topics import Offsets
from kmirror.admin.mirror_topic import grow_topic
from kmirror.errors import ClusterError, Conflict, KmirrorError, NotReached
from kmirror.model.each import Each, for_each, split
from kmirror.model.link import Link
from kmirror.model.mirror import Mirror, StopRequest
from kmirror.model.states import Event, MirrorState
from kmirror.ops.clock import now_ms
from kmirror.ops.mirror_change import known_mirror, refuse
from kmirror.ops.mirror_ends import last_known_ends, log_ends, rows, stable_ends
from kmirror.ops.mirror_rows import error_text
from kmirror.ops.seen import Seen, see
from kmirror.ops.verb_rows import TopicOutcome, VerbRow, failed, in_order
from kmirror.process.control import nudge
from kmirror.process.detached import start_runner
from kmirror.state.links import LinkStore
from kmirror.state.paths import Home

_POLL_S: Final = 0.15
_LOOK_S: Final = 1.0  # how often we see whether the runner that is to do it still lives


@dataclass(frozen=True, slots=True)
class Begun:
    """`as_of_ms`: for a failover by topic, when the source's ends were seen; no entry: just now."""

    outcomes: tuple[TopicOutcome, ...]
    as_of_ms: dict[str, int]


def begin_promote(home: Home, link: str, topics: Sequence[str], *, dry_run: bool) -> Begun:
    """Raises NotFound for the link; what is wrong with a topic is in its outcome."""
    store = LinkStore(home)
    seen = see(home, store.get(link))
    mirrors, errors = split(for_each(topics, lambda topic: _may(seen.link, topic, Event.PROMOTE)))
    now, unasked = split(stable_ends(seen.link, mirrors.values()))
    reached, unreached = split(log_ends(seen.link, [mirrors[topic] for topic in now]))
    errors |= unasked | unreached
    targets = {topic: _held_targets(mirrors[topic]) or now[topic] for topic in reached}
    states = {topic: mirrors[topic].state for topic in reached}
    if not dry_run:
        going = {t: targets[t] for t, state in states.items() if state is not MirrorState.PENDING_STOPPED}
        grown, stuck = split(for_each(going, lambda topic: _grown(seen.link, mirrors[topic], len(going[topic]))))
        stops = {topic: StopRequest(Event.PROMOTE, going[topic]) for topic in grown}
        requested, refused = split(_request(store, link, stops))
        states |= {topic: mirror.state for topic, mirror in requested.items()}
        errors |= stuck | refused
    shown = {topic: rows(mirrors[topic], targets[topic], at, states[topic]) for topic, at in reached.items()}
    return _handed_over(home, link, in_order(topics, shown, errors), {}, dry_run=dry_run)


def begin_failover(home: Home, link: str, topics: Sequence[str], *, dry_run: bool) -> Begun:
    """As begin_promote, for a source that may be dead."""
    store = LinkStore(home)
    seen = see(home, store.get(link))
    mirrors, errors = split(for_each(topics, lambda topic: _may(seen.link, topic, Event.FAILOVER)))
    known = last_known_ends(seen, mirrors.values())
    as_of_ms = {topic: ends.as_of_ms for topic, ends in known.items() if ends.as_of_ms is not None}
    asked = log_ends(seen.link, mirrors.values())
    reached, unreached = split(for_each(mirrors, lambda topic: _reached(seen, mirrors[topic], asked[topic])))
    errors |= unreached
    states = {topic: mirrors[topic].state for topic in reached}
    if not dry_run:
        requested, refused = split(_request(store, link, dict.fromkeys(reached, StopRequest(Event.FAILOVER))))
        states |= {topic: mirror.state for topic, mirror in requested.items()}
        errors |= refused
    shown = {
        topic: tuple(
            replace(row, records_left_behind=row.partition_mirror_lag)
            for row in rows(mirrors[topic], known[topic].ends, at, states[topic])
        )
        for topic, at in reached.items()
    }
    return _handed_over(home, link, in_order(topics, shown, errors), as_of_ms, dry_run=dry_run)


def _may(link: Link, topic: str, event: Event) -> Mirror:
    mirror = known_mirror(link, topic)
    refuse(mirror, link.name, event)
    if link.paused and event is Event.PROMOTE:
        raise Conflict(
            f'cluster link "{link.name}" is paused: mirror topic "{topic}" would never reach the end of its source',
            hint=f"`kmirror link resume {link.name}` first; or `kmirror mirror failover {topic} --link {link.name}`, "
            "which ends it where it is.",
        )
    return mirror


def _held_targets(mirror: Mirror) -> Offsets:
    """Those of a promote that is under way already."""
    return mirror.stop.targets if mirror.stop and mirror.stop.event is Event.PROMOTE else ()


def _grown(link: Link, mirror: Mirror, partitions: int) -> None:
    """Partitions that came to the source just now are as much part of the topic as the others."""
    if partitions > mirror.partitions:
        grow_topic(link.destination, mirror.topic, partitions)


def _reached(seen: Seen, mirror: Mirror, asked: Offsets | KmirrorError) -> Offsets:
    """Where the mirror is: asked, or else last seen. Raises where neither is known."""
    if not isinstance(asked, KmirrorError):
        return asked
    ends = tuple(p.log_end for p in seen.partitions(mirror) if p)
    if None in ends or len(ends) < mirror.partitions:
        raise asked
    return tuple(end for end in ends if end is not None)


def _request(store: LinkStore, link: str, stops: Mapping[str, StopRequest]) -> Each[Mirror]:
    def edit(mirror: Mirror) -> Mirror:
        stop = stops[mirror.topic]
        refuse(mirror, link, stop.event)
        grown = replace(mirror, partitions=max(mirror.partitions, len(stop.targets)))
        return grown.moved(stop.event, now_ms(), stop=stop)

    return store.change_mirrors(link, stops, edit) if stops else {}


def _handed_over(
    home: Home, link: str, outcomes: list[TopicOutcome], as_of_ms: dict[str, int], *, dry_run: bool
) -> Begun:
    """Sees to it that a runner executes what was recorded."""
    if not dry_run and any(o.error is None for o in outcomes):
        try:
            ensure_runner(home, link)
        except KmirrorError as e:
            outcomes = [o if o.error else failed(o.topic, _no_runner(link, e)) for o in outcomes]
    return Begun(tuple(outcomes), as_of_ms)


def ensure_runner(home: Home, link: str) -> None:
    """Somebody who does what is recorded, and knows of it."""
    start_runner(home, link)
    nudge(home, link)


def _no_runner(link: str, error: KmirrorError) -> KmirrorError:
    return ClusterError(
        f"PENDING_STOPPED, but no runner can execute it: {error.message}",
        hint=f"Once that is repaired, `kmirror link start {link}` goes on with it.",
    )


def await_stopped(home: Home, link: str, begun: Begun, timeout_s: float) -> list[TopicOutcome]:
    """Waits until each mirror is STOPPED; one that FAILED, or is late, is an error in what is returned."""
    store = LinkStore(home)
    deadline = time.monotonic() + timeout_s
    look_at = time.monotonic() + _LOOK_S
    outcomes = {o.topic: o for o in begun.outcomes}
    waiting = {o.topic for o in begun.outcomes if o.error is None}
    while waiting:
        mirrors = store.get(link).mirrors
        for topic in sorted(waiting):
            ended = _ended(outcomes[topic], mirrors.get(topic))
            if ended:
                outcomes[topic] = ended
                waiting.discard(topic)
        if not waiting:
            break
        if time.monotonic() > deadline:
            return [failed(t, _late(link, t, timeout_s)) if t in waiting else o for t, o in outcomes.items()]
        if time.monotonic() > look_at:
            ensure_runner(home, link)
            look_at = time.monotonic() + _LOOK_S
        time.sleep(_POLL_S)
    return list(outcomes.values())


def _ended(outcome: TopicOutcome, mirror: Mirror | None) -> TopicOutcome | None:
    """None while it goes on."""
    if mirror is None:
        return failed(outcome.topic, ClusterError("its link forgot it meanwhile"))
    if mirror.state is MirrorState.STOPPED:
        return replace(outcome, rows=tuple(replace(r, mirror_status=mirror.state) for r in outcome.rows))
    if mirror.state is MirrorState.FAILED:
        why = ClusterError(
            f'mirror topic "{mirror.topic}" failed: {error_text(mirror.error) or "no reason is recorded"}',
            hint=f"`kmirror mirror failover {mirror.topic}` makes it a topic of its own, as it is.",
            code=mirror.error.code if mirror.error else "INTERNAL_ERROR",
        )
        return failed(mirror.topic, why)
    return None


def _late(link: str, topic: str, timeout_s: float) -> KmirrorError:
    return NotReached(
        f'mirror topic "{topic}" is not STOPPED after {timeout_s:g} s, it stays PENDING_STOPPED',
        hint=f"See how far it is with `kmirror mirror describe {topic} --link {link}`.",
    )


def count_left_behind(home: Home, link: str, outcomes: Sequence[TopicOutcome]) -> list[TopicOutcome]:
    """After a promote: what came to the source since. Unknown (-1) where the source does not say it any more."""
    found = LinkStore(home).get(link)
    stopped = [found.mirrors[o.topic] for o in outcomes if o.error is None and o.topic in found.mirrors]
    # The promotes are done: what can't be asked any more stays unknown, this is only a courtesy.
    now, _ = split(stable_ends(found, stopped, 3.0))
    ends, _ = split(log_ends(found, [found.mirrors[topic] for topic in now]))
    return [
        replace(o, rows=tuple(_left(row, now[o.topic], ends[o.topic]) for row in o.rows)) if o.topic in ends else o
        for o in outcomes
    ]


def _left(row: VerbRow, now: tuple[int, ...], ends: tuple[int, ...]) -> VerbRow:
    if row.partition >= min(len(now), len(ends)):
        return row
    end = ends[row.partition]  # the runner may have copied beyond the target, with what its last fetch brought
    left = max(0, now[row.partition] - end)
    return replace(row, partition_mirror_lag=0, last_source_fetch_offset=end, records_left_behind=left)
