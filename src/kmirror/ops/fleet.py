"""`kmirror apply` and `kmirror export`: links and mirrors by a file. A refusal comes before anything is done."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from kmirror.errors import Conflict, KmirrorError, UsageError
from kmirror.model.fleet import Action, Change, WantedLink, WantedMirror
from kmirror.model.link import Link
from kmirror.model.mirror import Mirror
from kmirror.model.settings import shown
from kmirror.model.states import MirrorState
from kmirror.ops.fleet_plan import plan_changes
from kmirror.ops.link_config import change_configs
from kmirror.ops.link_create import store_link
from kmirror.ops.link_delete import delete_links
from kmirror.ops.mirror_change import pause_mirrors, resume_mirrors
from kmirror.ops.mirror_create import create_mirrors
from kmirror.ops.verb_rows import TopicOutcome
from kmirror.state.fleet_file import FleetFileError, parse_fleet, render_fleet
from kmirror.state.links import LinkStore
from kmirror.state.paths import Home

_EXPORTED: Final = frozenset({MirrorState.ACTIVE, MirrorState.PAUSED})


@dataclass(frozen=True, slots=True)
class Outcome:
    """`done` is False for what was not tried: unchanged, refused, a dry run, or its link could not be made."""

    change: Change
    done: bool = False
    error: KmirrorError | None = None


def read_fleet(path: Path | None, text: bytes | None = None) -> dict[str, WantedLink]:
    """Of a file, or of `text` that came another way. Raises UsageError that names every fault with its place."""
    name = "standard input" if path is None else f'"{path}"'
    if path is not None:
        try:
            text = path.read_bytes()
        except OSError as e:
            raise UsageError(f"cannot read {name}: {e.strerror}", hint="Give a readable file, or - for stdin.") from e
    try:
        return parse_fleet(text or b"")
    except FleetFileError as e:
        count = "1 fault" if len(e.faults) == 1 else f"{len(e.faults)} faults"
        raise UsageError(f"{name} has {count}, nothing was changed", hint="\n".join(e.faults)) from e


def plan_fleet(home: Home, wanted: Mapping[str, WantedLink], *, prune: bool) -> list[Change]:
    return plan_changes(wanted, LinkStore(home).all(), prune=prune)


def apply_changes(
    home: Home, wanted: Mapping[str, WantedLink], changes: Sequence[Change], *, dry_run: bool
) -> list[Outcome]:
    """Makes the changes; one that fails never stops the others, but for what depends on it.

    A dry run asks the clusters all that can be asked before a link is there. Raises Conflict where a change is
    refused: then nothing is changed.
    """
    refused = [change for change in changes if change.action is Action.REFUSED]
    if refused:
        told = [f"{_name(c)}: {c.detail}" for c in refused]
        raise Conflict(
            f"{len(refused)} of {len(changes)} can't be as the file says, nothing was changed", hint="\n".join(told)
        )
    outcomes: list[Outcome] = []
    for link in dict.fromkeys(change.link for change in changes):
        outcomes += _apply_link(home, wanted.get(link), [c for c in changes if c.link == link], dry_run=dry_run)
    return outcomes


def _apply_link(
    home: Home, wanted: WantedLink | None, changes: Sequence[Change], *, dry_run: bool
) -> Iterator[Outcome]:
    first, mirrors = (changes[0], changes[1:]) if not changes[0].topic else (None, changes)
    name = changes[0].link
    if first:
        outcome = _try(first, lambda: _change_link(home, wanted, first, dry_run=dry_run), dry_run=dry_run)
        yield outcome
        if outcome.error or (dry_run and first.action is Action.CREATE):
            yield from (Outcome(change) for change in mirrors)
            return
    made = [c for c in mirrors if c.action is Action.CREATE]
    if wanted and made:
        yield from _create(home, wanted, made, dry_run=dry_run)
    for action, verb in ((Action.PAUSE, pause_mirrors), (Action.RESUME, resume_mirrors)):
        those = {c.topic: c for c in mirrors if c.action is action}
        if those:
            yield from _outcomes(those, verb(home, name, list(those), dry_run=dry_run), dry_run=dry_run)
    yield from (Outcome(c) for c in mirrors if c.action is Action.UNCHANGED)


def _change_link(home: Home, wanted: WantedLink | None, change: Change, *, dry_run: bool) -> None:
    match change.action:
        case Action.CREATE if wanted:
            store_link(home, wanted.name, wanted.configs, dry_run=dry_run)
        case Action.UPDATE:
            change_configs(home, change.link, change.configs, dry_run=dry_run, validate=True)
        case Action.DELETE if not dry_run:
            delete_links(home, [change.link], force=False)
        case _:
            pass


def _create(home: Home, wanted: WantedLink, changes: Iterable[Change], *, dry_run: bool) -> Iterator[Outcome]:
    """Those that are made alike are made at once."""
    alike: dict[tuple[int | None, tuple[tuple[str, str], ...]], dict[str, Change]] = {}
    for change in changes:
        mirror = wanted.mirrors[change.topic]
        alike.setdefault((mirror.replication_factor, tuple(mirror.configs.items())), {})[change.topic] = change
    for (factor, configs), those in alike.items():
        sources: dict[str, str | None] = {topic: wanted.mirrors[topic].source_topic for topic in those}
        try:
            made = create_mirrors(
                home, wanted.name, sources, replication_factor=factor, configs=dict(configs), dry_run=dry_run
            )
        except KmirrorError as e:
            yield from (Outcome(change, error=e) for change in those.values())
            continue
        held = [o.topic for o in made.outcomes if o.error is None and wanted.mirrors[o.topic].paused]
        unheld = {}
        if held and not dry_run:
            unheld = {o.topic: o.error for o in pause_mirrors(home, wanted.name, held, dry_run=False) if o.error}
        for outcome in made.outcomes:
            error = outcome.error or unheld.get(outcome.topic) or made.fault
            yield Outcome(those[outcome.topic], done=not dry_run and outcome.error is None, error=error)


def _outcomes(changes: Mapping[str, Change], outcomes: Iterable[TopicOutcome], *, dry_run: bool) -> Iterator[Outcome]:
    for outcome in outcomes:
        yield Outcome(changes[outcome.topic], done=not dry_run and outcome.error is None, error=outcome.error)


def _try(change: Change, act: Callable[[], None], *, dry_run: bool) -> Outcome:
    if change.action is Action.UNCHANGED:
        return Outcome(change)
    try:
        act()
    except KmirrorError as e:
        return Outcome(change, error=e)
    return Outcome(change, done=not dry_run)


def _name(change: Change) -> str:
    return f'mirror topic "{change.topic}" of link "{change.link}"' if change.topic else f'link "{change.link}"'


def export_fleet(home: Home, link: str | None) -> tuple[str, list[str]]:
    """The file, and sentences about what can't be in it: mirrors that are over, or on their way. Raises NotFound."""
    store = LinkStore(home)
    links = list(store.all().values()) if link is None else [store.get(link)]
    notes = [
        f'mirror topic "{m.topic}" of link "{found.name}" is {m.state}: left out'
        for found in links
        for m in found.mirrors.values()
        if m.state not in _EXPORTED
    ]
    return render_fleet({found.name: _exported(found) for found in links}), notes


def _exported(link: Link) -> WantedLink:
    mirrors = {topic: _wanted(m) for topic, m in link.mirrors.items() if m.state in _EXPORTED}
    configs = {key: shown(key, value) for key, value in link.configs.items()}
    return WantedLink(link.name, configs, mirrors)


def _wanted(mirror: Mirror) -> WantedMirror:
    return WantedMirror(mirror.topic, mirror.source_topic, mirror.state is MirrorState.PAUSED)
