"""The man pages, from the commands: kmirror(1), kmirror-link(1), kmirror-mirror(1); man-pages(7) tells their form."""

import re
from collections.abc import Iterator

import typer
from typer.core import TyperCommand, TyperGroup

from kmirror import __version__
from kmirror.cli.app import EXIT_CODES, app

Command = TyperCommand | TyperGroup

OWN_PAGES = ("link", "mirror")
"""Groups large enough for a page of their own; all other commands are in kmirror(1)."""

FILES = """\
.TP
.I ~/.config/kmirror/links.toml
The links, and what is wanted of their mirrors.
.TP
.I ~/.local/state/kmirror/run/LINK/
Lock, status, socket, log and ledger of the runner of a link. No position is in any of them.
"""
ENVIRONMENT = """\
.TP
.B KMIRROR_HOME
A folder that holds both instead.
.TP
.B NO_COLOR
Output without colours.
"""


def pages() -> Iterator[tuple[str, str]]:
    """Name and content of each page."""
    root = typer.main.get_command(app)
    commands = _subcommands(root)
    yield "kmirror.1", _page("kmirror", root, [(n, c) for n, c in commands if n not in OWN_PAGES])
    for name, command in commands:
        if name in OWN_PAGES:
            yield f"kmirror-{name}.1", _page(f"kmirror {name}", command, _subcommands(command))


def _page(name: str, command: Command, members: list[tuple[str, Command]]) -> str:
    dashed = name.replace(" ", "-")
    others = [other for other in ("kmirror", *(f"kmirror-{n}" for n in OWN_PAGES)) if other != dashed]
    parts = [
        f'.TH {dashed.upper()} 1 "" "kmirror {__version__}" "kmirror manual"\n.nh\n.ad l\n',
        f".SH NAME\n{_text(dashed)} \\- {_text(_first_line(command))}\n",
        f".SH SYNOPSIS\n.B {_text(name)}\n[OPTIONS] COMMAND [ARGS]...\n",
        f".SH DESCRIPTION\n{_paragraphs(command.help)}",
        f".SH OPTIONS\n{_parameters(name, command)}" if name == "kmirror" else "",
        ".SH COMMANDS\n" + "".join(_command(f"{name} {n}", c) for n, c in members),
        ".SH EXIT STATUS\n" + "".join(f".TP\n.B {code}\n{_text(said)}.\n" for code, said in EXIT_CODES.items()),
        f".SH FILES\n{FILES}.SH ENVIRONMENT\n{ENVIRONMENT}",
        ".SH SEE ALSO\n" + ",\n".join(f".BR {_text(other)} (1)" for other in others).replace(",\n", " ,\n") + "\n",
    ]
    return "".join(parts)


def _command(name: str, command: Command) -> str:
    """The section of a command, or those of a group's members."""
    members = _subcommands(command)
    if members:
        return "".join(_command(f"{name} {n}", c) for n, c in members)
    text = f".SS {_text(name)} {_text(_arguments(name, command))}\n{_paragraphs(command.help)}"
    return text + _parameters(name, command) + (_example(command.epilog) if command.epilog else "")


def _arguments(name: str, command: Command) -> str:
    pieces = command.collect_usage_pieces(typer.Context(command, info_name=name))
    return " ".join(re.sub(r"^\{(.+)\}(?:\.\.\.)?$", r"\1", piece) for piece in pieces)


def _parameters(name: str, command: Command) -> str:
    records = (p.get_help_record(typer.Context(command, info_name=name)) for p in command.params if not _hidden(p))
    return "".join(f".TP\n.B {_text(words)}\n{_text(told)}\n" for words, told in filter(None, records))


def _hidden(parameter: object) -> bool:
    return bool(getattr(parameter, "hidden", False))


def _subcommands(command: Command) -> list[tuple[str, Command]]:
    return [(n, c) for n, c in getattr(command, "commands", {}).items() if not c.hidden]


def _first_line(command: Command) -> str:
    line = (command.help or "").strip().split("\n\n")[0].replace("\n", " ").rstrip(".")
    return line[:1].lower() + line[1:] if not line.startswith("Cluster Linking") else line


def _paragraphs(text: str | None) -> str:
    return "".join(f".PP\n{_text(part)}\n" for part in (text or "").strip().split("\n\n"))


def _example(text: str) -> str:
    """An epilog: sentences, and indented lines that stay as they are."""
    parts = []
    for part in text.strip("\n").split("\n\n"):
        verbatim = part.startswith(" ")
        parts.append(f".PP\n.nf\n{_lines(part)}\n.fi\n" if verbatim else f".PP\n{_text(part)}\n")
    return "".join(parts)


def _lines(text: str) -> str:
    return "\n".join(_escaped(line) for line in text.splitlines())


def _text(text: str) -> str:
    return _escaped(" ".join(text.split()))


def _escaped(line: str) -> str:
    """Roff takes a backslash, a hyphen that is to be a hyphen, and a dot or quote that begins a line for its own."""
    line = line.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{line}" if line.startswith((".", "'")) else line
