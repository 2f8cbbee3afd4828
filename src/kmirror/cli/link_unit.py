"""`kmirror link install-unit`."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from kmirror.cli.options import LinkArg, OutputOpt, WorkersOpt
from kmirror.cli.output import Format, print_document, say
from kmirror.errors import UsageError


def register(app: typer.Typer) -> None:
    app.command("install-unit")(install_unit)


def install_unit(
    link: LinkArg,
    *,
    user: Annotated[bool, typer.Option("--user", help="For your own service manager.")] = False,
    system: Annotated[bool, typer.Option("--system", help="For that of the machine, to run as you.")] = False,
    show: Annotated[bool, typer.Option("--print", help="Print the unit, and write nothing.")] = False,
    workers: WorkersOpt = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a unit that is different.")] = False,
    output: OutputOpt = Format.HUMAN,
) -> None:
    """Write a systemd unit that runs a link, and say how to start it.

    Without --user and --system: for the machine if you are root, else for you.
    """
    from kmirror.ops.link_unit import Scope, plan_unit
    from kmirror.ops.link_unit import install_unit as install
    from kmirror.state.paths import home

    if user and system:
        raise UsageError("--user and --system exclude each other", hint="Give one of them.")
    scope = Scope.SYSTEM if system or (os.geteuid() == 0 and not user) else Scope.USER
    unit = plan_unit(
        home(), link, scope, _this_command(), options=[] if workers is None else ["--workers", str(workers)]
    )
    if show:
        typer.echo(unit.text, nl=False)
        return
    written = install(unit, force=force)
    if output is not Format.HUMAN:
        row = {"link_name": link, "unit": str(unit.path), "already_installed": not written, "next": list(unit.steps)}
        print_document(row, output)
        return
    say(f'Wrote "{unit.path}".' if written else f'"{unit.path}" is there already.')
    say("To start it:")
    for step in unit.steps:
        say(f"    {step}")


def _this_command() -> list[str]:
    """How this very kmirror is started, wherever it is installed."""
    script = Path(sys.argv[0])
    if script.name == "kmirror" and os.access(script, os.X_OK):
        return [str(script.absolute())]
    return [sys.executable, "-m", "kmirror"]
