"""Deleting links: all names are checked before anything is done. The topics stay, at both clusters."""

import shutil
from collections.abc import Mapping, Sequence

from kmirror.admin.cluster import ClusterAdmin
from kmirror.errors import ClusterError, Conflict, KmirrorError, StateError, Unreachable
from kmirror.model.link import Link, name_fault
from kmirror.model.rights import removal_line
from kmirror.model.states import MirrorState
from kmirror.process.detached import stop_runner
from kmirror.state.links import LinkStore, link_not_found
from kmirror.state.paths import Home
from kmirror.tasks.guarding import lift_guards
from kmirror.wire.reach import check_reachable

_OVER = frozenset({MirrorState.STOPPED, MirrorState.FAILED})


def check_deletable(home: Home, names: Sequence[str], *, force: bool) -> None:
    """Raises NotFound for the first that is missing; Conflict, unless forced, where mirrors are not over."""
    _check(LinkStore(home).all(), names, force=force)


def delete_links(home: Home, names: Sequence[str], *, force: bool) -> list[str]:
    """Ends their runners and their guards, forgets the links, then their runtime files.

    Raises as check_deletable, StateError, and ClusterError where a guard can't be ended; forced, these are returned
    as sentences.
    """
    check_deletable(home, names, force=force)
    store = LinkStore(home)
    warnings = []
    for name in names:
        warnings += _unguard(store, name, force=force)
    for name in names:
        stop_runner(home, name)

    def forget(links: dict[str, Link]) -> None:
        _check(links, names, force=force)
        for name in names:
            del links[name]

    store.change(forget)
    for name in names:
        _remove_runtime(home, name)
    return warnings


def _unguard(store: LinkStore, name: str, *, force: bool) -> list[str]:
    """What is not forgotten can still be taken away: so a link whose guards hold is kept, unless forced."""
    link = store.get(name)
    if not link.guards:
        return []
    try:
        check_reachable(link.destination, "destination")
        refused: dict[str, KmirrorError] = lift_guards(
            store, link.name, ClusterAdmin(link.destination, "destination"), link.guards
        )
    except Unreachable as e:
        refused = dict.fromkeys(link.guards, e)
    if not refused:
        return []
    first = next(iter(refused.values()))
    lines = [removal_line(link.destination, topic, link.guards[topic]) for topic in sorted(refused)]
    if not force:
        by_hand = "Or add `--force`, and delete these ACLs yourself:"
        raise ClusterError(
            f'cluster link "{name}" is not deleted, as its guards can\'t be taken away: {first.message}',
            hint="\n".join([*([first.hint] if first.hint else []), by_hand, *lines]),
        )
    return [f"{first.message}; delete these ACLs yourself: {'; '.join(lines)}"]


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
