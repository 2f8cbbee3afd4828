"""`kmirror mirror list` and `kmirror mirror describe`."""

from collections.abc import Iterable, Sequence
from typing import Annotated

import typer

from kmirror.cli.live_text import since, throttles
from kmirror.cli.options import Budget, LinkOpt, MaxLagOpt, OutputOpt, TopicArg, WatchOpt, complete_links
from kmirror.cli.output import Format, Narrow, Row, note, print_rows, rows_of, say
from kmirror.errors import UsageError


def register(app: typer.Typer) -> None:
    app.command("list")(list_)
    app.command("describe")(describe)


def list_(
    link: Annotated[
        str | None,
        typer.Option("--link", metavar="LINK", help="Only those of this link.", autocompletion=complete_links),
    ] = None,
    mirror_status: Annotated[
        str | None,
        typer.Option("--mirror-status", metavar="STATUS", help="Only those in this state: active, paused, failed..."),
    ] = None,
    max_lag: MaxLagOpt = None,
    output: OutputOpt = Format.HUMAN,
) -> None:
    """List mirror topics, of one link or of all."""
    from kmirror.ops.lag_budget import require_in_time
    from kmirror.ops.mirror_view import list_mirrors, mirror_state
    from kmirror.state.paths import home

    state = mirror_state(mirror_status) if mirror_status is not None else None
    found = list_mirrors(home(), link, state, max_lag.ms if max_lag else None)
    columns = [
        "link_name",
        "mirror_topic_name",
        "source_topic_name",
        "mirror_status",
        "status_time_ms",
        "num_partition",
        "max_per_partition_mirror_lag",
        "max_per_partition_mirror_lag_ms",
    ]
    rows = rows_of(found.rows)
    print_rows(rows, columns, output, Narrow(once=("link_name",), spared=("status_time_ms",)))
    for name in found.idle:
        warn_idle(name, rows)
    for name in found.silent:
        warn_silent(name, rows)
    if max_lag:
        require_in_time(found.late, max_lag.text)


def describe(
    topic: TopicArg,
    link: LinkOpt,
    watch: WatchOpt = False,
    max_lag: MaxLagOpt = None,
    output: OutputOpt = Format.HUMAN,
) -> None:
    """Describe a mirror topic: one row a partition, with its lag in records and in time."""
    from kmirror.ops.lag_budget import require_in_time
    from kmirror.ops.mirror_view import describe_mirror, watched
    from kmirror.state.paths import home

    if watch:
        for_people(output, max_lag)
        from kmirror.cli.live import watch as show

        show(watched(home(), link, topic), topic)
        return
    found = describe_mirror(home(), link, topic, max_lag.ms if max_lag else None)
    columns = [
        "link_name",
        "mirror_topic_name",
        "source_topic_name",
        "mirror_status",
        "mirror_topic_error",
        "status_time_ms",
        "partition",
        "partition_mirror_lag",
        "last_source_fetch_offset",
        "partition_mirror_lag_ms",
    ]
    rows = rows_of(found.rows)
    print_rows(rows, columns, output, Narrow(once=tuple(columns[:6])))
    if output is Format.HUMAN:
        for line in _faults(rows):
            say(line)
    if found.idle:
        warn_idle(link, rows)
    if found.silent:
        warn_silent(link, rows)
    if max_lag:
        require_in_time(found.late, max_lag.text)


def for_people(output: Format, max_lag: Budget | None) -> None:
    """Raises UsageError where a live view is asked for together with what scripts want."""
    if output is not Format.HUMAN:
        raise UsageError("`--watch` is for people", hint=f"Leave out `--watch`, or `-o {output}`.")
    if max_lag:
        raise UsageError("`--watch` is for people", hint="Leave out `--watch`, or `--max-lag`.")


def warn_idle(link: str, rows: Sequence[Row]) -> None:
    """Nothing is copied, and the lags are as old as the last runner."""
    told = f'Warning: no runner of link "{link}" runs, nothing is copied{_age(link, rows)}.'
    note(f"{told} Start it with `kmirror link start {link}`.")


def warn_silent(link: str, rows: Sequence[Row]) -> None:
    """The runner is alive, but frozen or stuck."""
    told = f'Warning: the runner of link "{link}" does not answer{_age(link, rows)}.'
    note(f"{told} See `kmirror link logs {link}`.")


def _age(link: str, rows: Sequence[Row]) -> str:
    ages = [row["status_age_ms"] for row in rows if row["link_name"] == link and row["status_age_ms"] >= 0]
    return f"; what is shown was seen {since(min(ages))} ago" if ages else ""


def _faults(rows: Sequence[Row]) -> Iterable[str]:
    """In words what is wrong: the table has room for a code at most."""
    said = rows[0]["mirror_topic_error_message"]
    if said:
        yield f"\n{rows[0]['mirror_topic_name']}: {rows[0]['mirror_topic_error']}: {said}"
    for row in rows:
        told = row["partition_error_message"]
        if told and told != said:
            yield f"partition {row['partition']}: {row['partition_state']}: {told}"
    if rows[0]["guard"]:
        yield f"\nGuard: DENY WRITE for {', '.join(rows[0]['guard'])}."
    if rows[0]["throttled"]:
        yield f"\nThe link is throttled by {throttles(rows[0]['throttled'])}."
    lost = sum(row["lost_offsets"] for row in rows)
    if lost:
        topic, link = rows[0]["mirror_topic_name"], rows[0]["link_name"]
        told = f"{lost:,} offsets were lost at the source before they were copied"
        yield f"\n{told}: see `kmirror gaps --link {link} --topic {topic}`."
