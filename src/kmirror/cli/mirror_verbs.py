"""`kmirror mirror pause`, `resume`, `promote` and `failover`: one table, a row a partition, and what came of it."""

import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from kmirror.cli.options import AllOpt, DryRunOpt, LinkOpt, OutputOpt, PatternOpt, SomeTopicsArg, seconds
from kmirror.cli.outcomes import end, show
from kmirror.cli.output import Format, note, say

if TYPE_CHECKING:  # ops stay unimported until a verb runs; Typer sees none of these
    from kmirror.ops.mirror_stop import Begun
    from kmirror.ops.verb_rows import TopicOutcome

TimeoutOpt = Annotated[
    float, typer.Option("--timeout", metavar="TIME", help="How long to wait: 30s, 2m.", parser=seconds)
]
WaitOpt = Annotated[bool, typer.Option("--wait", help="Wait until the runner shows the new state.")]
StopWaitOpt = Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until it is STOPPED.")]


def register(app: typer.Typer) -> None:
    for name, verb in (("pause", pause), ("resume", resume), ("promote", promote), ("failover", failover)):
        app.command(name)(verb)


def pause(
    topics: SomeTopicsArg = [],  # noqa: B006 - Typer copies it
    *,
    link: LinkOpt,
    every: AllOpt = False,
    pattern: PatternOpt = None,
    wait: WaitOpt = False,
    timeout: TimeoutOpt = "60s",  # type: ignore[assignment]  # Typer parses defaults too
    dry_run: DryRunOpt = False,
    output: OutputOpt = Format.HUMAN,
) -> None:
    """Pause mirror topics: nothing is copied until they are resumed."""
    from kmirror.model.states import MirrorState
    from kmirror.ops.mirror_change import await_state, pause_mirrors
    from kmirror.ops.selection import select_mirrors
    from kmirror.state.paths import home

    chosen = select_mirrors(home(), link, topics, every=every, pattern=pattern)
    outcomes = pause_mirrors(home(), link, chosen, dry_run=dry_run)
    if wait and not dry_run:
        outcomes = await_state(home(), link, outcomes, MirrorState.PAUSED, timeout)
    show(outcomes, output)
    end(outcomes, "pause", dry_run=dry_run)


def resume(
    topics: SomeTopicsArg = [],  # noqa: B006 - Typer copies it
    *,
    link: LinkOpt,
    every: AllOpt = False,
    pattern: PatternOpt = None,
    wait: WaitOpt = False,
    timeout: TimeoutOpt = "60s",  # type: ignore[assignment]
    dry_run: DryRunOpt = False,
    output: OutputOpt = Format.HUMAN,
) -> None:
    """Resume paused mirror topics where they were. Starts the runner if none runs."""
    from kmirror.model.states import MirrorState
    from kmirror.ops.mirror_change import await_state, resume_mirrors
    from kmirror.ops.selection import select_mirrors
    from kmirror.state.paths import home

    chosen = select_mirrors(home(), link, topics, every=every, pattern=pattern)
    outcomes = resume_mirrors(home(), link, chosen, dry_run=dry_run)
    if wait and not dry_run:
        outcomes = await_state(home(), link, outcomes, MirrorState.ACTIVE, timeout)
    show(outcomes, output)
    end(outcomes, "resume", dry_run=dry_run)


def promote(
    topics: SomeTopicsArg = [],  # noqa: B006 - Typer copies it
    *,
    link: LinkOpt,
    every: AllOpt = False,
    pattern: PatternOpt = None,
    wait: StopWaitOpt = True,
    timeout: TimeoutOpt = "300s",  # type: ignore[assignment]
    dry_run: DryRunOpt = False,
    output: OutputOpt = Format.HUMAN,
) -> None:
    """Make mirror topics topics of their own, once they hold all that the source holds now.

    Producers may go on at the source: they do not hold it up, and what they write later is left behind and counted.
    The source must be reachable: see failover.
    """
    from kmirror.ops.mirror_stop import await_stopped, begin_promote, count_left_behind
    from kmirror.ops.selection import select_mirrors
    from kmirror.state.paths import home

    chosen = select_mirrors(home(), link, topics, every=every, pattern=pattern)
    begun = begin_promote(home(), link, chosen, dry_run=dry_run)
    outcomes: Sequence[TopicOutcome] = begun.outcomes
    if output is Format.HUMAN:
        show(outcomes, output)
    if wait and not dry_run:
        _say_waiting(begun)
        outcomes = count_left_behind(home(), link, await_stopped(home(), link, begun, timeout))
    if output is not Format.HUMAN:
        show(outcomes, output)
    elif wait and not dry_run:
        _say_promoted(outcomes)
    end(outcomes, "promote", dry_run=dry_run)


def failover(
    topics: SomeTopicsArg = [],  # noqa: B006 - Typer copies it
    *,
    link: LinkOpt,
    every: AllOpt = False,
    pattern: PatternOpt = None,
    wait: StopWaitOpt = True,
    timeout: TimeoutOpt = "60s",  # type: ignore[assignment]
    dry_run: DryRunOpt = False,
    output: OutputOpt = Format.HUMAN,
) -> None:
    """Make mirror topics topics of their own at once, as they are. The source may be dead.

    Tells for each partition how many records are known not to have been copied.
    """
    from kmirror.ops.mirror_stop import await_stopped, begin_failover
    from kmirror.ops.selection import select_mirrors
    from kmirror.state.paths import home

    chosen = select_mirrors(home(), link, topics, every=every, pattern=pattern)
    begun = begin_failover(home(), link, chosen, dry_run=dry_run)
    outcomes: Sequence[TopicOutcome] = begun.outcomes
    if output is Format.HUMAN:
        show(outcomes, output)
        _say_not_copied(begun)
    if wait and not dry_run:
        outcomes = await_stopped(home(), link, begun, timeout)
    if output is not Format.HUMAN:
        show(outcomes, output)
    elif wait and not dry_run:
        for outcome in outcomes:
            if outcome.error is None:
                say(f'Mirror topic "{outcome.topic}" is STOPPED.')
    end(outcomes, "failover", dry_run=dry_run)


def _say_waiting(begun: "Begun") -> None:
    going = [o for o in begun.outcomes if o.error is None]
    lag = sum(max(0, row.partition_mirror_lag) for o in going for row in o.rows)
    if lag and sys.stderr.isatty():
        note(f"Waiting for {lag:,} records to be copied (Ctrl-C stops waiting, not the promotion)...")


def _say_promoted(outcomes: Sequence["TopicOutcome"]) -> None:
    for outcome in outcomes:
        if outcome.error:
            continue
        left = [row.records_left_behind for row in outcome.rows]
        if min(left, default=0) < 0:
            behind = "The source does not answer any more: what came to it later is not known."
        elif sum(left) == 0:
            behind = "No records were left behind at the source."
        else:
            behind = f"{sum(left):,} later records were left behind at the source."
        say(f'Mirror topic "{outcome.topic}" is STOPPED. {behind}')


def _say_not_copied(begun: "Begun") -> None:
    for outcome in begun.outcomes:
        if outcome.error:
            continue
        missing = [row.records_left_behind for row in outcome.rows]
        as_of = begun.as_of_ms.get(outcome.topic)
        when = f" (as of {_clock(as_of)}, when the source was last seen)" if as_of else ""
        if all(number < 0 for number in missing):
            say(f'Mirror topic "{outcome.topic}": how many records were not copied is not known: the source is silent.')
        else:
            unknown = sum(number < 0 for number in missing)
            more = f", of {unknown} partitions unknown" if unknown else ""
            total = sum(max(0, number) for number in missing)
            say(f'Mirror topic "{outcome.topic}": {total:,} records are known not to have been copied{more}{when}.')


def _clock(ms: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(ms / 1000))
