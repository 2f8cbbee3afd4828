"""`kmirror mirror reverse-and-start` and `reverse-and-pause`: the planned swap of source and mirror."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from kmirror.cli.mirror_verbs import TimeoutOpt
from kmirror.cli.options import DryRunOpt, LinkOpt, OutputOpt, TopicsArg
from kmirror.cli.outcomes import end, show
from kmirror.cli.output import Format, note, say

if TYPE_CHECKING:
    from kmirror.model.states import Event

ReverseLinkOpt = Annotated[
    str | None,
    typer.Option(
        "--reverse-link", metavar="LINK", help="Link of the other direction, made if missing [default: LINK-reverse]."
    ),
]
_WaitOpt = Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until the new mirror is seen to copy.")]


def register(app: typer.Typer) -> None:
    app.command("reverse-and-start")(reverse_and_start)
    app.command("reverse-and-pause")(reverse_and_pause)


def reverse_and_start(
    topics: TopicsArg,
    link: LinkOpt,
    *,
    reverse_link: ReverseLinkOpt = None,
    wait: _WaitOpt = True,
    timeout: TimeoutOpt = "60s",  # type: ignore[assignment]  # Typer parses defaults too
    dry_run: DryRunOpt = False,
    output: OutputOpt = Format.HUMAN,
) -> None:
    """Swap source and mirror: the mirror becomes the topic to write to, its old source the mirror.

    Stop the producers of the source first: the mirror is stopped when the source has stood still for a second and the
    mirror holds all of it. If it does not come to rest within --timeout nothing is changed. No topic is copied anew.
    """
    from kmirror.model.states import Event

    _reverse(topics, link, Event.START, reverse_link, wait=wait, timeout=timeout, dry_run=dry_run, output=output)


def reverse_and_pause(
    topics: TopicsArg,
    link: LinkOpt,
    *,
    reverse_link: ReverseLinkOpt = None,
    timeout: TimeoutOpt = "60s",  # type: ignore[assignment]
    dry_run: DryRunOpt = False,
    output: OutputOpt = Format.HUMAN,
) -> None:
    """As reverse-and-start, but the new mirror is PAUSED until `mirror resume`."""
    from kmirror.model.states import Event

    _reverse(topics, link, Event.HOLD, reverse_link, wait=False, timeout=timeout, dry_run=dry_run, output=output)


def _reverse(
    topics: list[str],
    link: str,
    event: "Event",
    reverse_link: str | None,
    *,
    wait: bool,
    timeout: float,
    dry_run: bool,
    output: Format,
) -> None:
    from kmirror.model.states import Event
    from kmirror.ops.mirror_reverse import await_copying, check_reversal, reverse_mirrors, source_names
    from kmirror.ops.mirror_stop import ensure_runner
    from kmirror.state.paths import home

    if dry_run:
        checked = check_reversal(home(), link, topics, name=reverse_link)
        show(checked.outcomes, output)
        end(checked.outcomes, "reverse", dry_run=True)
        return
    tell = note if sys.stderr.isatty() else lambda _: None
    reversal = reverse_mirrors(home(), link, topics, name=reverse_link, event=event, timeout_s=timeout, tell=tell)
    reverse = reversal.reverse
    for warning in reverse.warnings:
        note(f"Warning: {warning}.")
    names = source_names(home(), link, reversal)
    outcomes = list(reversal.outcomes)
    if names and event is Event.START:
        ensure_runner(home(), reverse.name)
        if wait:
            outcomes = await_copying(home(), reversal, names, timeout)
    show(outcomes, output)
    if output is Format.HUMAN:
        if reverse.made:
            say(f'Created cluster link "{reverse.name}".')
        state = "PAUSED" if event is Event.HOLD else "ACTIVE"
        for outcome in outcomes:
            if outcome.error is None:
                source = names[outcome.topic]
                say(f'Topic "{outcome.topic}" at the destination is the one to write to now.')
                say(f'Topic "{source}" at the source is its mirror, {state} on link "{reverse.name}".')
    end(outcomes, "reverse", dry_run=False)
