"""`mirror reverse-and-start` and `reverse-and-pause`: source and mirror change places, and nothing is lost.

What can be guaranteed from outside the brokers: the mirror stops only when the source has stood still for a second,
with no transaction open, and the mirror holds all of it. After it has stopped the source is read again; only if it
still ends where the mirror does is its topic adopted as the mirror of the other direction. So nothing is ever written
over, and whatever a late producer wrote is named. Each step is recorded before the next: a call goes on where another
was killed.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from kmirror.errors import ClusterError, KmirrorError, NotFound, NotReached
from kmirror.model.each import the_only
from kmirror.model.link import Link
from kmirror.model.states import Event, MirrorState, after
from kmirror.model.status import PartitionState
from kmirror.ops.mirror_change import known_mirror
from kmirror.ops.mirror_ends import log_ends, rows, stable_ends
from kmirror.ops.mirror_rows import error_text
from kmirror.ops.mirror_stop import ensure_runner
from kmirror.ops.reverse_link import ReverseLink, reverse_link
from kmirror.ops.reverse_swap import Swap, check_reversible
from kmirror.ops.verb_rows import TopicOutcome, failed
from kmirror.process.control import observe
from kmirror.process.detached import running
from kmirror.state.links import LinkStore
from kmirror.state.paths import Home

_POLL_S: Final = 0.2
_LOOK_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Reversal:
    """`reverse` is the link of the other direction."""

    outcomes: tuple[TopicOutcome, ...]
    reverse: ReverseLink


def check_reversal(home: Home, link: str, topics: Sequence[str], *, name: str | None) -> Reversal:
    """The dry run: raises and tells what reverse_mirrors would, and changes nothing."""
    found = LinkStore(home).get(link)
    reverse = reverse_link(home, found, name, make=False)
    return Reversal(tuple(_checked(found, reverse, topic) for topic in dict.fromkeys(topics)), reverse)


def _checked(link: Link, reverse: ReverseLink, topic: str) -> TopicOutcome:
    try:
        mirror = known_mirror(link, topic)
        check_reversible(link, mirror, reverse)
        state = after(mirror.state, Event.REVERSE) or mirror.state
        ends, reached = the_only(stable_ends(link, [mirror])), the_only(log_ends(link, [mirror]))
        return TopicOutcome(topic, rows(mirror, ends, reached, state))
    except KmirrorError as e:
        return failed(topic, e)


def reverse_mirrors(
    home: Home,
    link: str,
    topics: Sequence[str],
    *,
    name: str | None,
    event: Event,
    timeout_s: float,
    tell: Callable[[str], None],
) -> Reversal:
    """Until each topic has changed places, failed, or `timeout_s` is over; then what still drained is ACTIVE again.

    `event` says how the new mirror begins (START, HOLD). Raises NotFound for the link and what is wrong with the
    reverse link `name` (None: the usual one); what is wrong with a topic is in its outcome.
    """
    store = LinkStore(home)
    found = store.get(link)
    reverse = reverse_link(home, found, name, make=True)
    swaps = [Swap(home, link, reverse.name, topic, event=event, tell=tell) for topic in dict.fromkeys(topics)]
    try:
        _carry_out(home, link, swaps, time.monotonic() + timeout_s)
    finally:
        for swap in swaps:
            swap.end(timeout_s)
    return Reversal(tuple(swap.outcome for swap in swaps if swap.outcome), reverse)


def _carry_out(home: Home, link: str, swaps: Sequence["Swap"], deadline: float) -> None:
    look_at = time.monotonic()
    while waiting := [swap for swap in swaps if swap.outcome is None]:
        for swap in waiting:
            swap.step()
        if time.monotonic() > deadline:
            return
        if time.monotonic() > look_at and any(swap.needs_runner for swap in swaps):
            ensure_runner(home, link)
            look_at = time.monotonic() + _LOOK_S
        if any(swap.outcome is None for swap in swaps):
            time.sleep(_POLL_S)


def source_names(home: Home, link: str, reversal: Reversal) -> dict[str, str]:
    """The new mirrors by the names of the topics that were reversed."""
    mirrors = LinkStore(home).get(link).mirrors
    return {o.topic: mirrors[o.topic].source_topic for o in reversal.outcomes if o.error is None}


def await_copying(home: Home, reversal: Reversal, sources: dict[str, str], timeout_s: float) -> list[TopicOutcome]:
    """Waits until the new mirrors (`sources`: names by topic of the outcomes) are seen to copy.

    One that FAILED, or is late, is an error in what is returned.
    """
    link = reversal.reverse.name
    store = LinkStore(home)
    deadline = time.monotonic() + timeout_s
    outcomes = {o.topic: o for o in reversal.outcomes}
    waiting = {o.topic for o in reversal.outcomes if o.error is None}
    while waiting:
        mirrors = store.get(link).mirrors
        status = observe(home, link)
        if running(home, link) is None:
            ensure_runner(home, link)
        for topic in sorted(waiting):
            name = sources[topic]
            mirror = mirrors.get(name)
            if mirror is None:
                outcomes[topic] = failed(topic, NotFound(f'link "{link}" forgot mirror topic "{name}" meanwhile'))
                waiting.discard(topic)
                continue
            seen = status.mirrors.get(name) if status else None
            if mirror.state is MirrorState.FAILED:
                why = error_text(mirror.error)
                outcomes[topic] = failed(
                    topic,
                    ClusterError(
                        f'its old source, now mirror topic "{name}" of link "{link}", failed: {why}',
                        hint=f"`kmirror mirror describe {name} --link {link}`",
                        code=mirror.error.code if mirror.error else "INTERNAL_ERROR",
                    ),
                )
                waiting.discard(topic)
            elif seen and seen.partitions and all(p.state is PartitionState.COPYING for p in seen.partitions):
                waiting.discard(topic)
        if waiting and time.monotonic() > deadline:
            late = NotReached(
                f'link "{link}" does not copy yet, after {timeout_s:g} s',
                hint=f"See what holds it up with `kmirror status` and `kmirror link logs {link}`.",
            )
            return [failed(t, late) if t in waiting else o for t, o in outcomes.items()]
        if waiting:
            time.sleep(_POLL_S)
    return list(outcomes.values())
