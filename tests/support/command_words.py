"""What the program makes of the words of a command, without running it."""

from collections.abc import Sequence
from typing import Any

import typer

from kmirror.cli.app import app


def parsed(words: Sequence[str]) -> tuple[str, dict[str, Any]]:
    """The command that these words behind `kmirror` start, and its parameters; raises as the program refuses them."""
    command: Any = typer.main.get_command(app)
    rest = list(words)
    while hasattr(command, "commands"):
        command = command.commands[rest.pop(0)]
    return command.name, command.make_context(command.name, rest).params
