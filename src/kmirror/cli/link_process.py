"""`kmirror link run`, `start`, `stop` and `logs`: the process that copies."""

import os
import time
from collections import deque
from pathlib import Path
from typing import Annotated, Final

import typer

from kmirror.cli.options import LinkArg, OutputOpt
from kmirror.cli.output import Format, note, print_document, say

_FOLLOW_S: Final = 0.2


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


def register(app: typer.Typer) -> None:
    app.command("run")(run)
    app.command("start")(start)
    app.command("stop")(stop)
    app.command("logs")(logs)


def run(
    link: LinkArg,
    metrics_addr: MetricsOpt = None,
    log_file: Annotated[
        Path | None, typer.Option("--log-file", hidden=True, help="Log there instead of to stderr.")
    ] = None,
) -> None:
    """Run a link here, in the foreground, until SIGTERM or Ctrl-C: for systemd and containers. Logs to stderr."""
    from kmirror.process.runner import run_link
    from kmirror.state.links import LinkStore
    from kmirror.state.paths import home

    LinkStore(home()).get(link)
    raise typer.Exit(run_link(home(), link, log_file=log_file, metrics_address=metrics_addr))


def start(link: LinkArg, metrics_addr: MetricsOpt = None, output: OutputOpt = Format.HUMAN) -> None:
    """Start the detached runner of a link. Done where it runs already."""
    from kmirror.ops.link_process import start_link
    from kmirror.state.paths import home

    options = [] if metrics_addr is None else ["--metrics-addr", metrics_addr]
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
    """Print the log of a link's runner."""
    from kmirror.ops.link_process import log_path
    from kmirror.state.paths import home

    path = log_path(home(), link)
    if not path.exists() and not follow:
        note(f'Cluster link "{link}" has logged nothing yet.')
        return
    _print_log(path, lines, follow=follow)


def _print_log(path: Path, lines: int, *, follow: bool) -> None:
    """The last lines; with `follow` what comes then, also in the next file once this one is rotated."""
    try:
        at = _print_tail(path, lines)
        while follow:
            at = _print_new(path, at)
            time.sleep(_FOLLOW_S)
    except KeyboardInterrupt:
        return  # that is how following ends


def _print_tail(path: Path, lines: int) -> tuple[int, int]:
    """Where reading ended: (inode, offset)."""
    if not path.exists():
        return (0, 0)
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in deque(file, lines):
            typer.echo(line, nl=False)
        return (os.fstat(file.fileno()).st_ino, file.tell())


def _print_new(path: Path, at: tuple[int, int]) -> tuple[int, int]:
    inode, offset = at
    if not path.exists():
        return at
    with path.open(encoding="utf-8", errors="replace") as file:
        stat = os.fstat(file.fileno())
        file.seek(offset if stat.st_ino == inode and stat.st_size >= offset else 0)
        text = file.read()
        if text:
            typer.echo(text, nl=False)
        return (stat.st_ino, file.tell())
