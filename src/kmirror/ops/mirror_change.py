"""`mirror pause` and `mirror resume`: recorded at once, and done by the runner a moment later."""

import time
from collections.abc import Sequence
from typing import Final

from kmirror.errors import Conflict, KmirrorError, NotReached
from kmirror.model.each import for_each, split
from kmirror.model.link import Link
from kmirror.model.mirror import Mirror
from kmirror.model.states import Event, MirrorState, after
from kmirror.ops.clock import now_ms
from kmirror.ops.seen import Seen, see
from kmirror.ops.verb_rows import UNKNOWN, TopicOutcome, VerbRow, failed, in_order
from kmirror.process.control import nudge, observe
from kmirror.process.detached import running, start_runner
from kmirror.state.links import LinkStore, mirror_not_found
from kmirror.state.paths import Home

_POLL_S: Final = 0.2


def pause_mirrors(home: Home, link: str, topics: Sequence[str], *, dry_run: bool) -> list[TopicOutcome]:
    """Raises NotFound for the link; what is wrong with a topic is in its outcome."""
    return _change(home, link, topics, Event.PAUSE, dry_run=dry_run)


def resume_mirrors(home: Home, link: str, topics: Sequence[str], *, dry_run: bool) -> list[TopicOutcome]:
    """As pause_mirrors; starts the runner if none runs, or nothing would be copied."""
    outcomes = _change(home, link, topics, Event.RESUME, dry_run=dry_run)
    if not dry_run and any(o.error is None for o in outcomes):
        start_runner(home, link)
    return outcomes


def _change(home: Home, link: str, topics: Sequence[str], event: Event, *, dry_run: bool) -> list[TopicOutcome]:
    store = LinkStore(home)
    seen = see(home, store.get(link))

    def move(mirror: Mirror) -> Mirror:
        refuse(mirror, link, event)
        return mirror.moved(event, now_ms())

    if dry_run:
        moved = for_each(topics, lambda topic: move(known_mirror(seen.link, topic)))
    else:
        moved = store.change_mirrors(link, topics, move)
    mirrors, errors = split(moved)
    outcomes = in_order(topics, {topic: _rows(seen, mirror) for topic, mirror in mirrors.items()}, errors)
    if not dry_run:
        nudge(home, link)
    return outcomes


def known_mirror(link: Link, topic: str) -> Mirror:
    if topic not in link.mirrors:
        raise mirror_not_found(link.name, topic)
    return link.mirrors[topic]


def refuse(mirror: Mirror, link: str, event: Event) -> None:
    """Raises Conflict where the table of states has no such step."""
    if after(mirror.state, event) is not None:
        return
    topic = mirror.topic
    if mirror.state is MirrorState.STOPPED:
        raise Conflict(
            f'topic "{topic}" has already stopped its mirror from "{link}"',
            hint="It is a topic of its own now: produce to it, or delete it to mirror it anew.",
        )
    if mirror.state is MirrorState.FAILED:
        raise Conflict(
            f'mirror topic "{topic}" has failed, it cannot {event}',
            hint=f"Read why with `kmirror mirror describe {topic} --link {link}`; "
            f"`kmirror mirror failover {topic} --link {link}` makes it a topic of its own.",
        )
    raise Conflict(
        f'mirror topic "{topic}" is {mirror.state}, it cannot {event}',
        hint=f"See it with `kmirror mirror describe {topic} --link {link}`.",
    )


def _rows(seen: Seen, mirror: Mirror) -> tuple[VerbRow, ...]:
    return tuple(
        VerbRow(
            mirror.topic,
            number,
            UNKNOWN if part is None or part.lag is None else part.lag,
            UNKNOWN if part is None or part.log_end is None else part.log_end,
            mirror_status=mirror.state,
        )
        for number, part in enumerate(seen.partitions(mirror))
    )


def await_state(
    home: Home, link: str, outcomes: Sequence[TopicOutcome], state: MirrorState, timeout_s: float
) -> list[TopicOutcome]:
    """Waits until the runner shows `state`; those that don't show it in time are NotReached in what is returned."""
    waiting = {o.topic for o in outcomes if o.error is None}
    deadline = time.monotonic() + timeout_s
    asked_ms = now_ms()
    while True:
        status = observe(home, link)
        if status is None and state is MirrorState.PAUSED and running(home, link) is None:
            waiting.clear()  # nobody copies: that is as paused as can be
        if status is not None and status.updated_ms >= asked_ms:
            waiting -= {t for t, m in status.mirrors.items() if m.state is state}
        if not waiting or time.monotonic() > deadline:
            return [
                failed(o.topic, _late(link, o.topic, state, timeout_s)) if o.topic in waiting else o for o in outcomes
            ]
        time.sleep(_POLL_S)


def _late(link: str, topic: str, state: MirrorState, timeout_s: float) -> KmirrorError:
    return NotReached(
        f'mirror topic "{topic}" is not {state} after {timeout_s:g} s',
        hint=f"See what holds it up with `kmirror mirror describe {topic} --link {link}`.",
    )
