"""`kmirror link delete`."""

from typing import Annotated

import typer

from kmirror.cli.confirm import confirmed
from kmirror.cli.options import OutputOpt, complete_links
from kmirror.cli.output import Format, note, print_document, say


def register(app: typer.Typer) -> None:
    app.command("delete")(delete)


def delete(
    links: Annotated[
        list[str], typer.Argument(metavar="LINK...", help="Names of the links.", autocompletion=complete_links)
    ],
    force: Annotated[
        bool, typer.Option("--force", help="Do not ask, and delete links that still have mirror topics.")
    ] = False,
    output: OutputOpt = Format.HUMAN,
) -> None:
    """Delete links: stop their runners and forget them and their mirrors. The topics stay as they are.

    Refused while mirror topics are neither STOPPED nor FAILED, unless forced. The ACLs of guarded mirrors
    are taken away.
    """
    from kmirror.ops.link_delete import check_deletable, delete_links
    from kmirror.state.paths import home

    names = list(dict.fromkeys(links))
    check_deletable(home(), names, force=force)
    noun = "cluster links" if len(names) > 1 else "cluster link"
    quoted = " and ".join(f'"{name}"' for name in names)
    if not force and not confirmed(f"Are you sure you want to delete {noun} {quoted}?", "deleting a link"):
        return
    for warning in delete_links(home(), names, force=force):
        note(f"Warning: {warning}")
    if output is Format.HUMAN:
        say(f"Deleted {noun} {quoted}.")
    else:
        print_document([{"link_name": name} for name in names], output)
