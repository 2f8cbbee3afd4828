"""`kmirror link list` and `kmirror link describe`."""

from dataclasses import asdict
from typing import Annotated, Final

import typer

from kmirror.cli.live_text import throttles
from kmirror.cli.options import LinkArg, OutputOpt
from kmirror.cli.output import Format, Narrow, print_record, print_rows, without_empty

_OMITTED: Final = (
    "link_id",
    "topic_name",
    "source_cluster",
    "destination_cluster",
    "remote_cluster",
    "error",
    "error_message",
    "mirror_partition_states_count",
)
"""Keys that are left out where they hold nothing, as Cluster Linking does."""


def register(app: typer.Typer) -> None:
    app.command("list")(list_)
    app.command("describe")(describe)


def list_(
    include_topics: Annotated[bool, typer.Option("--include-topics", help="One row a mirror topic.")] = False,
    output: OutputOpt = Format.HUMAN,
) -> None:
    """List the links."""
    from kmirror.ops.link_view import list_links
    from kmirror.state.paths import home

    columns = [
        "link_name",
        "link_id",
        *(["topic_name"] if include_topics else []),
        "source_cluster",
        "destination_cluster",
        "state",
        "error",
        "error_message",
    ]
    rows = [asdict(row) for row in list_links(home(), include_topics=include_topics)]
    shown = rows if output is Format.HUMAN else [without_empty(row, _OMITTED) for row in rows]
    print_rows(shown, columns, output, Narrow(spared=("link_id",)))


def describe(link: LinkArg, output: OutputOpt = Format.HUMAN) -> None:
    """Describe a link: its clusters, its state, its runner and its configurations."""
    from kmirror.ops.link_view import describe_link
    from kmirror.state.paths import home

    row = without_empty(asdict(describe_link(home(), link)), _OMITTED)
    if not row["throttled"]:
        del row["throttled"]
    if output is Format.HUMAN:
        row["name"] = row["link_name"]
        row["throttled"] = f"by {throttles(row['throttled'])}" if row.get("throttled") else ""
        row["configs"] = "\n".join(f"{key}={value}" for key, value in row["configs"].items())
    columns = [
        "name",
        "link_id",
        "source_cluster",
        "destination_cluster",
        "state",
        "error",
        "error_message",
        "mirror_partition_states_count",
        "runner_pid",
        "gap_fill",
        "throttled",
        "configs",
    ]
    print_record(row, columns, output)
