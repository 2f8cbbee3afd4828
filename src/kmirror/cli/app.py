"""The `kmirror` command: its verbs, and the only place that turns errors into text and exit codes."""

import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Final

import typer

from kmirror.cli import (
    doctor,
    fleet,
    link_configuration,
    link_create,
    link_delete,
    link_pause,
    link_process,
    link_show,
    link_task,
    link_unit,
    mirror_create,
    mirror_groups,
    mirror_restore,
    mirror_reverse,
    mirror_show,
    mirror_transition,
    mirror_verbs,
    mirror_verify,
)
from kmirror.cli import gaps as gaps_page
from kmirror.cli import status as status_page
from kmirror.cli.demo import demo
from kmirror.cli.failures import report, report_bug, write_traceback
from kmirror.cli.records import records_app
from kmirror.cli.sandbox import sandbox_app
from kmirror.errors import KmirrorError

EXIT_CODES: Final = {
    0: "done",
    1: "failed, or at least one of several failed",
    2: "wrong usage",
    3: "a comparison found a difference",
    4: "not reached within --timeout, or not within --max-lag",
    5: "link run: another runner took the link over",
    130: "interrupted by Ctrl-C",
}
_SETTINGS: Final = {"help_option_names": ["-h", "--help"]}
_EPILOG: Final = f"Exit codes: {'; '.join(f'{code} {meaning}' for code, meaning in EXIT_CODES.items())}."


@dataclass(slots=True)
class Session:
    """What the options of `kmirror` itself say."""

    verbosity: int = 0


app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings=_SETTINGS,
    epilog=_EPILOG,
    rich_markup_mode=None,  # in boxes, long names of options are cut at 80 columns
)
link_app = typer.Typer(no_args_is_help=True, context_settings=_SETTINGS, rich_markup_mode=None)
mirror_app = typer.Typer(no_args_is_help=True, context_settings=_SETTINGS, rich_markup_mode=None)

app.add_typer(link_app, name="link", help="Manage links: pairs of clusters between which topics are mirrored.")
app.add_typer(mirror_app, name="mirror", help="Manage mirror topics: exact copies of topics of the source cluster.")
link_create.register(link_app)
link_show.register(link_app)
link_delete.register(link_app)
link_process.register(link_app)
link_pause.register(link_app)
link_configuration.register(link_app)
link_task.register(link_app)
link_unit.register(link_app)
mirror_create.register(mirror_app)
mirror_show.register(mirror_app)
mirror_verbs.register(mirror_app)
mirror_groups.register(mirror_app)
mirror_reverse.register(mirror_app)
mirror_restore.register(mirror_app)
mirror_verify.register(mirror_app)
mirror_transition.register(mirror_app)
status_page.register(app)
gaps_page.register(app)
doctor.register(app)
fleet.register(app)
app.command("demo")(demo)
app.add_typer(records_app, name="records")
app.add_typer(sandbox_app, name="sandbox")


def _version(wanted: bool) -> None:
    if wanted:
        from kmirror import __version__

        typer.echo(f"kmirror {__version__}")
        raise typer.Exit


@app.callback()
def root(
    ctx: typer.Context,
    verbose: Annotated[
        int, typer.Option("-v", "--verbose", count=True, help="Tell more on stderr; -vv: log tracebacks too.")
    ] = 0,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Cluster Linking for any Kafka: mirrors topics between two clusters byte for byte and offset for offset."""
    _ = version
    session = ctx.ensure_object(Session)
    session.verbosity = verbose
    if verbose:
        level = logging.INFO if verbose == 1 else logging.DEBUG
        logging.basicConfig(stream=sys.stderr, level=level, format="%(message)s")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command. Usage errors (2) and Ctrl-C (130) end the process from within Typer."""
    session = Session()
    try:
        app(args=None if argv is None else list(argv), prog_name="kmirror", obj=session)
    except KmirrorError as e:
        if session.verbosity > 1:
            write_traceback(e)
        return report(e)
    except Exception as e:
        return report_bug(e)
    return 0
