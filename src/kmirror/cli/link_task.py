"""`kmirror link task list`."""

from typing import Final

import typer

from kmirror.cli.live_text import since
from kmirror.cli.options import LinkArg, OutputOpt
from kmirror.cli.output import Format, note, print_rows, rows_of

_COLUMNS: Final = ("task_name", "state", "errors", "last_run")


def register(app: typer.Typer) -> None:
    tasks = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
    tasks.command("list")(list_)
    app.add_typer(tasks, name="task", help="What follows the source beside the records.")


def list_(link: LinkArg, output: OutputOpt = Format.HUMAN) -> None:
    """List the tasks of a link: state, errors, and when each ran last."""
    from kmirror.ops.task_view import list_tasks
    from kmirror.state.paths import home

    found = list_tasks(home(), link)
    rows = rows_of(found.rows)
    if output is Format.HUMAN:
        for row in rows:
            row["errors"] = ", ".join(f'{e["error_code"]}: "{e["error_message"]}"' for e in row["errors"])
            ran_ms = row["last_run_ms"]
            row["last_run"] = "never" if ran_ms is None else f"{since(max(0, found.at_ms - ran_ms))} ago"
    print_rows(rows, _COLUMNS, output)
    if not found.told:
        note(f'No runner tells of link "{link}": start it with `kmirror link start {link}`.')
