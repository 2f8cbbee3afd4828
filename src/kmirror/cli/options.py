"""Arguments and options that several verbs share, and how their values complete (from links.toml alone)."""

import re
from dataclasses import dataclass
from typing import Annotated, Final

import typer

from kmirror.cli.output import Format
from kmirror.errors import KmirrorError

_DURATION: Final = re.compile(r"(?P<number>\d+(?:\.\d+)?)(?P<unit>ms|s|m|h)?")
_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, None: 1.0}


def seconds(text: str) -> float:
    """`30`, `30s`, `500ms`, `2m`, `1h`."""
    found = _DURATION.fullmatch(text.strip())
    if not found:
        raise typer.BadParameter(f'"{text}" is no time: write 30, 30s or 2m')
    return float(found["number"]) * _UNITS[found["unit"]]


@dataclass(frozen=True, slots=True)
class Budget:
    """A time as the user wrote it, and in milliseconds."""

    text: str
    ms: int


def budget(text: str) -> Budget:
    return Budget(text, round(seconds(text) * 1000))


def complete_links(incomplete: str) -> list[str]:
    return [name for name in _links() if name.startswith(incomplete)]


def complete_topics(ctx: typer.Context, incomplete: str) -> list[str]:
    """The mirror topics of the link that is given, or of all."""
    wanted = ctx.params.get("link")
    links = _links()
    topics = {topic for name, found in links.items() if wanted in {None, name} for topic in found}
    return sorted(topic for topic in topics if topic.startswith(incomplete))


def _links() -> dict[str, list[str]]:
    """The mirror topics of each link; nothing where they can't be read: the verb itself will say why."""
    from kmirror.state.links import LinkStore
    from kmirror.state.paths import home

    try:
        return {name: list(link.mirrors) for name, link in LinkStore(home()).all().items()}
    except KmirrorError:
        return {}


OutputOpt = Annotated[
    Format, typer.Option("-o", "--output", help="How the result is printed.", show_default=True, case_sensitive=False)
]
LinkArg = Annotated[str, typer.Argument(metavar="LINK", help="Name of the link.", autocompletion=complete_links)]
LinkOpt = Annotated[
    str, typer.Option("--link", metavar="LINK", help="Name of the link.", autocompletion=complete_links)
]
TopicArg = Annotated[
    str, typer.Argument(metavar="TOPIC", help="Name of the mirror topic.", autocompletion=complete_topics)
]
TopicsArg = Annotated[
    list[str],
    typer.Argument(metavar="TOPIC...", help="Names of the mirror topics.", autocompletion=complete_topics),
]
SomeTopicsArg = Annotated[
    list[str],
    typer.Argument(metavar="[TOPIC...]", help="Names of the mirror topics.", autocompletion=complete_topics),
]
AllOpt = Annotated[bool, typer.Option("--all", help="All mirror topics of the link that are not STOPPED.")]
PatternOpt = Annotated[
    str | None,
    typer.Option(
        "--pattern", metavar="REGEX", help='Those whose whole name matches this regular expression: "orders.*".'
    ),
]
WatchOpt = Annotated[bool, typer.Option("--watch", help="Show it live, until Ctrl-C.")]
MaxLagOpt = Annotated[
    Budget | None,
    typer.Option(
        "--max-lag",
        metavar="TIME",
        parser=budget,
        help="Exit with 4, and say on stderr why, unless all that is shown is copied within that time: 30s, 5m.",
    ),
]
DryRunOpt = Annotated[bool, typer.Option("--dry-run", help="Check it and print the same, but change nothing.")]
ConfigOpt = Annotated[
    list[str],
    typer.Option("--config", metavar="K=V,..|FILE", help='Comma list of "key=value", or a properties file.'),
]
WorkersOpt = Annotated[
    int | None,
    typer.Option(
        "--workers",
        min=1,
        max=64,
        show_default=False,
        help="How many processes share the partitions, for a link that needs more than a core. Default: 1.",
    ),
]
