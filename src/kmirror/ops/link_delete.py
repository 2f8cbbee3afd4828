"""Deleting links: all names are checked before anything is done. The topics stay, at both clusters."""

import shutil
from collections.abc import Mapping, Sequence

from kmirror.errors import Conflict, StateError
from kmirror.model.link import Link, name_fault
from kmirror.model.states import MirrorState
from kmirror.process.detached import stop_runner
from kmirror.state.links import LinkStore, link_not_found
from kmirror.state.paths import Home

_OVER = frozenset({MirrorState.STOPPED, MirrorState.FAILED})


def check_deletable(home: Home, names: Sequence[str], *, force: bool) -> None:
    """Raises NotFound for the first that is missing; Conflict, unless forced, where mirrors are not over."""
    _check(LinkStore(home).all(), names, force=force)


def delete_links(home: Home, names: Sequence[str], *, force: bool) -> None:
    """Ends their runners, forgets the links, then their runtime files. Raises as check_deletable, and StateError."""
    check_deletable(home, names, force=force)
    for name in names:
        stop_runner(home, name)

    def forget(links: dict[str, Link]) -> None:
        _check(links, names, force=force)
        for name in names:
            del links[name]

    LinkStore(home).change(forget)
    for name in names:
        _remove_runtime(home, name)


def _check(links: Mapping[str, Link], names: Sequence[str], *, force: bool) -> None:
    for name in names:
        if name not in links:
            raise link_not_found(name)
    for name in names:
        live = sorted(t for t, m in links[name].mirrors.items() if m.state not in _OVER)
        if live and not force:
            raise Conflict(
                f'cluster link "{name}" still has mirror topics: {", ".join(live)}',
                hint=f"Stop them first with `kmirror mirror promote {' '.join(live)} --link {name}`, "
                "or add `--force` to leave them as they are.",
            )


def _remove_runtime(home: Home, name: str) -> None:
    directory = home.run_directory(name)
    if name_fault(name) or not directory.exists():
        return  # a name that no link may have could lead anywhere
    try:
        shutil.rmtree(directory)
    except OSError as e:
        raise StateError(
            f'deleted cluster link "{name}", but not its files in "{directory}": {e.strerror}',
            hint="Delete that directory by hand.",
        ) from e
