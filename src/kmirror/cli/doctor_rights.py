"""`kmirror doctor --rights`: the rights of links' principals, and the commands that grant what is missing."""

from typing import TYPE_CHECKING, Final

import typer

from kmirror.cli.output import Format, print_document, print_rows, rows_of, say

if TYPE_CHECKING:
    from kmirror.state.paths import Home

_COLUMNS: Final = ("link_name", "side", "resource", "name", "operation", "state", "needed_for")


def show_rights(home: "Home", link: str | None, output: Format) -> None:
    """Of this link, or of all. Exits with 1 where one is missing."""
    from kmirror.ops.link_rights import MISSING, look_at_rights
    from kmirror.state.links import LinkStore

    names = [link] if link is not None else list(LinkStore(home).all())
    found = [row for name in names for row in look_at_rights(home, name)]
    rows = rows_of(found)
    if output is Format.HUMAN:
        print_rows(rows, _COLUMNS, output)
    else:
        print_document(rows, output)
    missing = [row for row in found if row.state == MISSING]
    if output is Format.HUMAN:
        for row in missing:
            what = f"{row.operation} on {row.resource} {row.name}".rstrip()
            say(f"\n{row.link_name}, {row.side}: without {what}: {row.without}. Grant it:\n  {row.grant}")
    if missing:
        raise typer.Exit(1)
