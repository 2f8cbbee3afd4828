"""`kmirror apply` and `kmirror export`."""

import sys
from collections.abc import Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.text import Text

from kmirror.cli.options import OutputOpt, complete_links
from kmirror.cli.output import Format, note, out, print_document, say
from kmirror.errors import Conflict, KmirrorError
from kmirror.model.fleet import Action, Change

if TYPE_CHECKING:  # ops stay unimported until a verb runs; Typer sees none of these
    from kmirror.ops.fleet import Outcome

_MARKS: Final = MappingProxyType(
    {
        Action.CREATE: ("+", "green"),
        Action.UPDATE: ("~", "yellow"),
        Action.PAUSE: ("~", "yellow"),
        Action.RESUME: ("~", "yellow"),
        Action.DELETE: ("-", "red"),
        Action.REFUSED: ("!", "bold red"),
    }
)
_STDIN: Final = "-"
_EPILOG: Final = (
    "Examples:\n\n"
    "  kmirror export > links.toml\n\n"
    "  kmirror apply links.toml --dry-run\n\n"
    "A file:\n\n"
    "\b\n"
    "  [links.east-west.configs]\n"
    '  "bootstrap.servers" = "east:9092"\n'
    '  "destination.bootstrap.servers" = "west:9092"\n'
    "  [links.east-west.mirrors.orders]\n"
    "  [links.east-west.mirrors.payments]\n"
    '  state = "PAUSED"              # else ACTIVE\n'
    '  source_topic = "payments-v2"  # else the same name\n'
    "  replication_factor = 3        # when it is made, as configs"
)


def register(app: typer.Typer) -> None:
    app.command("apply", epilog=_EPILOG)(apply)
    app.command("export")(export)


def apply(
    file: Annotated[str, typer.Argument(metavar="FILE", help="TOML file with links and mirrors; - for stdin.")],
    *,
    prune: Annotated[
        bool,
        typer.Option(
            "--prune",
            help="Also pause mirrors, and delete links without live mirrors, that are not in the file. A link that "
            "still has live mirrors is refused, and no mirror is ever ended.",
        ),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would change, ask the clusters, but change nothing.")
    ] = False,
    output: OutputOpt = Format.HUMAN,
) -> None:
    """Make links and mirrors be as a file says. Run again, it does nothing.

    Shows first what is to be created, changed and deleted. A file with a fault, or one that asks for what can't be,
    changes nothing at all. What fails later never stops the rest.
    """
    from kmirror.ops.fleet import apply_changes, plan_fleet, read_fleet
    from kmirror.state.paths import home

    piped = file == _STDIN
    wanted = read_fleet(None, sys.stdin.buffer.read()) if piped else read_fleet(Path(file))
    changes = plan_fleet(home(), wanted, prune=prune)
    if output is Format.HUMAN:
        _show(changes)
    try:
        outcomes = apply_changes(home(), wanted, changes, dry_run=dry_run)
    except Conflict:
        if output is not Format.HUMAN:
            print_document([_row(change) for change in changes], output)
        raise
    if output is not Format.HUMAN:
        print_document([_row(o.change, o) for o in outcomes], output)
    _end(outcomes, dry_run=dry_run, human=output is Format.HUMAN)


def _show(changes: Sequence[Change]) -> None:
    for change in changes:
        if change.action is Action.UNCHANGED:
            continue
        mark, style = _MARKS[change.action]
        what = f"mirror {change.topic} on link {change.link}" if change.topic else f"link {change.link}"
        detail = f": {change.detail}" if change.detail else ""
        out().print(Text(f"{mark} {change.action} {what}{detail}", style=style), soft_wrap=True)
    unchanged = sum(change.action is Action.UNCHANGED for change in changes)
    if unchanged:
        say(f"= {unchanged} unchanged")


def _row(change: Change, outcome: "Outcome | None" = None) -> dict[str, Any]:
    from kmirror.ops.verb_rows import error_code

    error = outcome.error if outcome else None
    return {
        "action": str(change.action),
        "link_name": change.link,
        "mirror_topic_name": change.topic,
        "detail": change.detail,
        "done": bool(outcome and outcome.done),
        "error_message": error.message if error else "",
        "error_code": error_code(error) if error else "",
    }


def _end(outcomes: Sequence["Outcome"], *, dry_run: bool, human: bool) -> None:
    wanted = [o for o in outcomes if o.change.action is not Action.UNCHANGED]
    errors = {id(o): o.error for o in outcomes if o.error}
    if errors:
        told = dict.fromkeys(
            line for e in errors.values() for line in (e.message, *(e.hint or "").splitlines()) if line
        )
        raise KmirrorError(f"{len(errors)} of {len(wanted)} changes failed", hint="\n".join(told))
    if not human:
        return
    if not wanted:
        say("Nothing to do.")
    elif dry_run:
        note("Dry run: nothing was changed.")
    else:
        say(f"Applied {len(wanted)} changes." if len(wanted) > 1 else "Applied 1 change.")


def export(
    *,
    link: Annotated[
        str | None,
        typer.Option("--link", metavar="LINK", help="Only this link.", autocompletion=complete_links),
    ] = None,
) -> None:
    """Write the file that `kmirror apply` takes, of the links and mirrors that there are, to stdout.

    Mirrors that are STOPPED, FAILED, or on their way to another state are left out, and told on stderr.
    """
    from kmirror.ops.fleet import export_fleet
    from kmirror.state.paths import home

    text, notes = export_fleet(home(), link)
    sys.stdout.write(text)
    for line in notes:
        note(f"Note: {line}.")
