"""`kmirror mirror groups`."""

from typing import Annotated

import typer

from kmirror.cli.live_text import since
from kmirror.cli.options import LinkArg, OutputOpt, complete_topics
from kmirror.cli.output import Format, Narrow, note, print_rows, rows_of


def register(app: typer.Typer) -> None:
    app.command("groups")(groups)


def groups(
    link: LinkArg,
    group: Annotated[list[str] | None, typer.Argument(metavar="[GROUP...]", help="Only these consumer groups.")] = None,
    topic: Annotated[
        str | None,
        typer.Option("--topic", metavar="TOPIC", help="Only this mirror topic.", autocompletion=complete_topics),
    ] = None,
    output: OutputOpt = Format.HUMAN,
) -> None:
    """List what was synced of consumer groups, and where each would go on after a failover right now.

    One row a partition. "Lands At" is the offset that a consumer of the group would read first at the destination,
    "Read Again" how many it has behind it at the source and would be given again.
    """
    from kmirror.ops.mirror_groups import list_groups
    from kmirror.state.paths import home

    found = list_groups(home(), link, group or (), topic)
    rows = rows_of(found.rows)
    columns = [
        "consumer_group",
        "mirror_topic_name",
        "partition",
        "source_offset",
        "synced_offset",
        "synced",
        "mirror_log_end_offset",
        "landing_offset",
        "records_read_again",
        "status",
    ]
    if output is Format.HUMAN:
        for row in rows:
            when = row["synced_time_ms"]
            row["synced"] = "never" if when < 0 else f"{since(max(0, found.at_ms - when))} ago"
    print_rows(rows, columns, output, Narrow(once=("consumer_group", "mirror_topic_name"), spared=("synced",)))
    if not found.enabled:
        note(
            f'Warning: link "{link}" syncs no offsets: "consumer.offset.sync.enable" is not true. '
            'Set it together with "consumer.offset.group.filters".'
        )
    if found.source_error:
        seen = "" if found.as_of_ms is None else f", as they were {since(max(0, found.at_ms - found.as_of_ms))} ago"
        note(f"Warning: {found.source_error}; source offsets are those last seen{seen}.")
