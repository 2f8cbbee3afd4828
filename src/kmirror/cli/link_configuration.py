"""`kmirror link configuration list`, `update` and `delete-key`."""

from typing import TYPE_CHECKING, Annotated, Final

import typer

from kmirror.cli.options import ConfigOpt, DryRunOpt, LinkArg, OutputOpt
from kmirror.cli.output import Format, note, print_document, print_rows, rows_of, say

if TYPE_CHECKING:
    from kmirror.ops.link_config import ConfigUpdate

_COLUMNS: Final = ("config_name", "config_value", "read_only", "sensitive", "source", "synonyms")
_UPDATE_EPILOG: Final = (
    "Examples:\n\n"
    "  kmirror link configuration update east-west --config topic.config.sync.ms=10000\n\n"
    "  kmirror link configuration update east-west --config link.properties --dry-run"
)


def register(app: typer.Typer) -> None:
    configuration = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
    configuration.command("list")(list_)
    configuration.command("update", epilog=_UPDATE_EPILOG)(update)
    configuration.command("delete-key")(delete_key)
    app.add_typer(configuration, name="configuration", help="See and change the configurations of a link.")


def list_(link: LinkArg, output: OutputOpt = Format.HUMAN) -> None:
    """List every configuration of a link: its value, whether it can be changed, and where the value comes from."""
    from kmirror.ops.link_config import list_configs
    from kmirror.state.paths import home

    rows = rows_of(list_configs(home(), link))
    if output is Format.HUMAN:
        for row in rows:
            row |= {key: str(row[key]).lower() for key in ("read_only", "sensitive")}
            row["synonyms"] = ", ".join(row["synonyms"])
    print_rows(rows, _COLUMNS, output)


def update(
    link: LinkArg,
    config: ConfigOpt,
    *,
    dry_run: DryRunOpt = False,
    no_validate: Annotated[
        bool, typer.Option("--no-validate", help="Do not ask the cluster at a new address who it is.")
    ] = False,
    output: OutputOpt = Format.HUMAN,
) -> None:
    """Change configurations of a link: those that are given, and no other. A runner takes them without a restart.

    A feature that is disabled loses its filters.
    """
    from kmirror.ops.link_config import update_configs
    from kmirror.state.paths import home

    _tell(
        link, update_configs(home(), link, config, dry_run=dry_run, validate=not no_validate), output, dry_run=dry_run
    )


def complete_keys(incomplete: str) -> list[str]:
    from kmirror.model.settings import SETTINGS

    return [key for key in SETTINGS if key.startswith(incomplete)]


def delete_key(
    link: LinkArg,
    keys: Annotated[
        list[str], typer.Argument(metavar="KEY...", help="Names of configurations.", autocompletion=complete_keys)
    ],
    *,
    dry_run: DryRunOpt = False,
    output: OutputOpt = Format.HUMAN,
) -> None:
    """Take configurations of a link back to their defaults."""
    from kmirror.ops.link_config import delete_configs
    from kmirror.state.paths import home

    _tell(link, delete_configs(home(), link, keys, dry_run=dry_run), output, dry_run=dry_run)


def _tell(link: str, done: "ConfigUpdate", output: Format, *, dry_run: bool) -> None:
    for warning in done.warnings:
        note(f"Warning: {warning}.")
    if output is not Format.HUMAN:
        changes = {
            key: {"old": _told(key, change.old), "new": _told(key, change.new)}
            for key, change in sorted(done.changes.items())
        }
        print_document({"link_name": link, "dry_run": dry_run, "changes": changes}, output)
        return
    if not done.changes:
        say(f'Cluster link "{link}" has that already.')
        return
    say(f'{"[DRY RUN] " if dry_run else ""}Updated cluster link "{link}".')
    for key, change in sorted(done.changes.items()):
        say(f"{key}: {_shown(_told(key, change.old))} -> {_shown(_told(key, change.new))}")


def _told(key: str, value: str | None) -> str | None:
    from kmirror.model.settings import shown

    return None if value is None else shown(key, value)


def _shown(value: str | None) -> str:
    return "(default)" if value is None else f'"{value}"'
