"""`kmirror gaps`: the ledger of what was lost at the source before it was copied."""

import datetime as dt
from typing import Annotated

import typer

from kmirror.cli.options import OutputOpt, complete_links, complete_topics
from kmirror.cli.output import Format, Narrow, print_rows, rows_of


def register(app: typer.Typer) -> None:
    app.command("gaps")(gaps)


def gaps(
    link: Annotated[
        str | None,
        typer.Option("--link", metavar="LINK", help="Only those of this link.", autocompletion=complete_links),
    ] = None,
    topic: Annotated[
        str | None,
        typer.Option("--topic", metavar="TOPIC", help="Only this mirror topic.", autocompletion=complete_topics),
    ] = None,
    output: OutputOpt = Format.HUMAN,
) -> None:
    """List what mirrors lack because retention removed it at the source before it was copied."""
    from kmirror.ops.gap_ledger import list_gaps
    from kmirror.state.paths import home

    rows = rows_of(list_gaps(home(), link, topic))
    columns = ["link_name", "mirror_topic_name", "partition", "offset", "count", "between", "and", "found", "reason"]
    if output is Format.HUMAN:
        times = (("between", "after_ms"), ("and", "before_ms"), ("found", "found_ms"))
        rows = [{**row, **{name: _clock(row[key]) for name, key in times}} for row in rows]
    print_rows(rows, columns, output, Narrow(once=("link_name", "mirror_topic_name", "reason"), spared=("found",)))


def _clock(ms: int | None) -> str:
    if ms is None:
        return ""
    return dt.datetime.fromtimestamp(ms / 1000).astimezone().isoformat(" ", "seconds")
