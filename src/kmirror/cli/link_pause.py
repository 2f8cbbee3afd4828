"""`kmirror link pause` and `kmirror link resume`."""

from typing import Annotated

import typer

from kmirror.cli.options import LinkArg, OutputOpt, seconds
from kmirror.cli.output import Format, print_document, say

TimeoutOpt = Annotated[
    float, typer.Option("--timeout", metavar="TIME", help="How long to wait for the runner: 30s, 2m.", parser=seconds)
]


def register(app: typer.Typer) -> None:
    app.command("pause")(pause)
    app.command("resume")(resume)


def pause(
    link: LinkArg,
    *,
    timeout: TimeoutOpt = "30s",  # type: ignore[assignment]  # Typer parses defaults too
    output: OutputOpt = Format.HUMAN,
) -> None:
    """Pause a link: nothing of it is copied or synced until it is resumed. The same as cluster.link.paused=true."""
    from kmirror.ops.link_pause import pause_link
    from kmirror.state.paths import home

    done = pause_link(home(), link, timeout_s=timeout)
    _tell(link, output, paused=True, already=done.already, pid=done.runner_pid)


def resume(
    link: LinkArg,
    *,
    timeout: TimeoutOpt = "30s",  # type: ignore[assignment]
    output: OutputOpt = Format.HUMAN,
) -> None:
    """Resume a paused link: it goes on exactly where it was. Starts the runner if none runs."""
    from kmirror.ops.link_pause import resume_link
    from kmirror.state.paths import home

    done = resume_link(home(), link, timeout_s=timeout)
    _tell(link, output, paused=False, already=done.already, pid=done.runner_pid)


def _tell(link: str, output: Format, *, paused: bool, already: bool, pid: int | None) -> None:
    if output is not Format.HUMAN:
        print_document({"link_name": link, "paused": paused, "already": already, "runner_pid": pid}, output)
    elif already:
        say(f'Cluster link "{link}" is {"already" if paused else "not"} paused.')
    else:
        say(f'{"Paused" if paused else "Resumed"} cluster link "{link}".')
