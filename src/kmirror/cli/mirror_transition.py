"""`kmirror mirror state-transition-error list`."""

import typer

from kmirror.cli.options import LinkOpt, OutputOpt, TopicArg
from kmirror.cli.output import Format, print_rows, rows_of


def register(app: typer.Typer) -> None:
    errors = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
    errors.command("list")(list_)
    app.add_typer(errors, name="state-transition-error", help="What holds up a promote, a reversal or a restore.")


def list_(topic: TopicArg, link: LinkOpt, output: OutputOpt = Format.HUMAN) -> None:
    """List what keeps a mirror topic that is on its way to another state from getting there.

    Nothing is listed where nothing holds it up. `kmirror mirror failover` ends a promote that can't get on.
    """
    from kmirror.ops.transition_errors import transition_errors
    from kmirror.state.paths import home

    print_rows(rows_of(transition_errors(home(), link, topic)), ("error_code", "error_message"), output)
