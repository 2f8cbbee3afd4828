"""`kmirror link run`, `start`, `stop` and `logs`: the process that copies."""

import contextlib
import time
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

import typer

from kmirror.cli.options import LinkArg, OutputOpt, WorkersOpt
from kmirror.cli.output import Format, note, print_document, say

_FOLLOW_S: Final = 0.2


class LogFormat(StrEnum):
    TEXT = "text"
    JSON = "json"


def _listen(text: str | None) -> str | None:
    from kmirror.model.listen import parse_listen

    if text is not None:
        try:
            parse_listen(text)
        except ValueError as e:
            raise typer.BadParameter(f'"{text}" {e}') from e
    return text


MetricsOpt = Annotated[
    str | None,
    typer.Option(
        "--metrics-addr",
        metavar="HOST:PORT",
        callback=_listen,
        help="Tell metrics (/metrics) and health (/livez, /readyz) there; without a host, to this machine alone. "
        "Default: the link's metrics.address.",
    ),
]

LogFormatOpt = Annotated[
    LogFormat | None,
    typer.Option("--log-format", help="Lines for people or objects for machines. Default: the link's log.format."),
]


def register(app: typer.Typer) -> None:
    app.command("run")(run)
    app.command("start")(start)
    app.command("stop")(stop)
    app.command("logs")(logs)


def run(
    link: LinkArg,
    metrics_addr: MetricsOpt = None,
    log_format: LogFormatOpt = None,
    workers: WorkersOpt = None,
    log_file: Annotated[
        Path | None, typer.Option("--log-file", hidden=True, help="Log there instead of to stderr.")
    ] = None,
) -> None:
    """Run a link here, in the foreground, until SIGTERM or Ctrl-C: for systemd and containers. Logs to stderr."""
    from kmirror.process.runner import RunOptions, run_link
    from kmirror.state.links import LinkStore
    from kmirror.state.paths import home

    LinkStore(home()).get(link)
    raise typer.Exit(run_link(home(), link, RunOptions(log_file, log_format, metrics_addr, workers=workers or 1)))


def start(
    link: LinkArg,
    metrics_addr: MetricsOpt = None,
    log_format: LogFormatOpt = None,
    workers: WorkersOpt = None,
    output: OutputOpt = Format.HUMAN,
) -> None:
    """Start the detached runner of a link. Done where it runs already."""
    from kmirror.ops.link_process import start_link
    from kmirror.state.paths import home

    given = {"--metrics-addr": metrics_addr, "--log-format": log_format, "--workers": workers}
    options = [word for name, value in given.items() if value is not None for word in (name, str(value))]
    started = start_link(home(), link, options)
    if started.already and options:
        note("Warning: the runner goes on as it was started: its options hold from its next start.")
    if output is not Format.HUMAN:
        document = {
            "link_name": link,
            "runner_pid": started.runner.pid,
            "runner_started_ms": started.runner.started_ms,
            "already_running": started.already,
        }
        print_document(document, output)
    elif started.already:
        say(f'Cluster link "{link}" is already running (pid {started.runner.pid}).')
    else:
        say(f'Started cluster link "{link}" (pid {started.runner.pid}).')


def stop(link: LinkArg, output: OutputOpt = Format.HUMAN) -> None:
    """Stop the runner of a link. Its mirrors go on where they were when it is started again."""
    from kmirror.ops.link_process import stop_link
    from kmirror.state.paths import home

    stopped = stop_link(home(), link)
    if output is not Format.HUMAN:
        print_document({"link_name": link, "already_stopped": not stopped}, output)
    else:
        say(f'Stopped cluster link "{link}".' if stopped else f'Cluster link "{link}" is not running.')


def logs(
    link: LinkArg,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on with what is logged, until Ctrl-C.")] = False,
    lines: Annotated[int, typer.Option("--lines", min=0, help="How many of the last lines.")] = 100,
) -> None:
    """Print the log of a link's runner: the last lines, and with --follow those that come, over every rotation."""
    from kmirror.ops.link_log import LogFollower
    from kmirror.ops.link_process import log_path
    from kmirror.state.paths import home

    path = log_path(home(), link)
    if not path.exists() and not follow:
        note(f'Cluster link "{link}" has logged nothing yet.')
        return
    with LogFollower(path) as log, contextlib.suppress(KeyboardInterrupt):  # that is how following ends
        typer.echo(log.tail(lines), nl=False)
        while follow:
            typer.echo(log.read(), nl=False)
            time.sleep(_FOLLOW_S)
