"""`kmirror status`: one page over all links."""

from typing import TYPE_CHECKING, Final

import typer
from rich.text import Text

from kmirror.cli.live_text import since, throttles, throughput
from kmirror.cli.mirror_show import for_people, warn_idle, warn_silent
from kmirror.cli.options import MaxLagOpt, OutputOpt, WatchOpt
from kmirror.cli.output import Format, cell, out, print_document, print_rows, rows_of, say

if TYPE_CHECKING:
    from kmirror.ops.overview import LinkOverview

_COLUMNS: Final = (
    "mirror_topic_name",
    "mirror_status",
    "num_partition",
    "mirror_lag",
    "max_per_partition_mirror_lag_ms",
    "records_per_s",
)


def register(app: typer.Typer) -> None:
    app.command("status")(status)


def status(watch: WatchOpt = False, max_lag: MaxLagOpt = None, output: OutputOpt = Format.HUMAN) -> None:
    """Show every link with its runner and its mirror topics: state, lag, rate."""
    from kmirror.ops.lag_budget import require_in_time
    from kmirror.ops.mirror_view import list_mirrors, watched_all
    from kmirror.ops.overview import overview
    from kmirror.state.paths import home

    if watch:
        from kmirror.cli.live import watch_all

        for_people(output, max_lag)
        watch_all(watched_all(home()))
        return
    links = overview(home())
    if output is not Format.HUMAN:
        print_document(rows_of(links), output)
    elif not links:
        say("None found.")
    for number, link in enumerate(links if output is Format.HUMAN else ()):
        if number:
            say("")
        _print_link(link)
    if max_lag:
        require_in_time(list_mirrors(home(), None, None, max_lag.ms).late, max_lag.text)


def _print_link(link: "LinkOverview") -> None:
    runner = "no runner"
    if link.runner_pid is not None:
        runner = f"runner pid {link.runner_pid}, up {since(link.runner_uptime_ms or 0)}, {throughput(link.bytes_per_s)}"
    head = Text.assemble((link.link_name, "bold"), "  ", cell("state", link.state), f"  {runner}")
    out().print(head, soft_wrap=True)
    if link.error_message:
        say(f"  {link.error}: {link.error_message}")
    if link.throttled:
        say(f"  Throttled by {throttles(link.throttled)}.")
    rows = rows_of(link.mirrors)
    if rows:
        print_rows(rows, _COLUMNS, Format.HUMAN)
    else:
        say(f"  No mirror topics: create one with `kmirror mirror create TOPIC --link {link.link_name}`.")
    for row in rows:
        if row["mirror_topic_error_message"]:
            say(f"  {row['mirror_topic_name']}: {row['mirror_topic_error']}: {row['mirror_topic_error_message']}")
    if link.idle:
        warn_idle(link.link_name, rows)
    if link.silent:
        warn_silent(link.link_name, rows)
