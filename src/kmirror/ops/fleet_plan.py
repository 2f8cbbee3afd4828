"""What has to change so that links and mirrors are as a file wants them: a pure function of both."""

from collections.abc import Iterator, Mapping
from typing import Final

from kmirror.model.fleet import Action, Change, WantedLink, WantedMirror
from kmirror.model.link import Link
from kmirror.model.mirror import Mirror
from kmirror.model.secrets import HIDDEN
from kmirror.model.settings import SETTINGS, shown, value_of
from kmirror.model.states import MirrorState

_PAUSED: Final = "cluster.link.paused"
_AUTO_CREATE: Final = "auto.create.mirror.topics.enable"
_OVER: Final = frozenset({MirrorState.STOPPED, MirrorState.FAILED})


def plan_changes(wanted: Mapping[str, WantedLink], links: Mapping[str, Link], *, prune: bool) -> list[Change]:
    """In the order in which they are to be made. What the file does not name is left alone unless `prune`."""
    changes: list[Change] = []
    for name, link in sorted(wanted.items()):
        known = links.get(name)
        changes.append(_link_change(link, known))
        changes += [_mirror_change(link.name, m, known) for _, m in sorted(link.mirrors.items())]
        if prune and known:
            changes += _pruned_mirrors(link, known)
    if prune:
        changes += [_pruned_link(link) for name, link in sorted(links.items()) if name not in wanted]
    return changes


def _link_change(wanted: WantedLink, known: Link | None) -> Change:
    if known is None:
        hidden = [key for key, value in wanted.configs.items() if value == HIDDEN]
        if hidden:
            told = (
                f"its secret is hidden in the file: write {hidden[0]} as a reference, ${{env:NAME}} or ${{file:/path}}"
            )
            return Change(Action.REFUSED, wanted.name, detail=told)
        return Change(Action.CREATE, wanted.name)
    different = dict(_differences(wanted.configs, known.configs))
    if not different:
        return Change(Action.UNCHANGED, wanted.name)
    fixed = [key for key in different if not SETTINGS[key].mutable]
    told = ", ".join(f'"{key}" {_held(known.configs, key)} -> {_held(wanted.configs, key)}' for key in different)
    if fixed:
        return Change(Action.REFUSED, wanted.name, detail=f"can't be changed once the link is made: {told}")
    return Change(Action.UPDATE, wanted.name, detail=told, configs=different)


def _differences(wanted: Mapping[str, str], known: Mapping[str, str]) -> Iterator[tuple[str, str | None]]:
    """By effective values. Whether the link is paused is only looked at where the file says it."""
    for key in SETTINGS:
        if key == _PAUSED and key not in wanted:
            continue
        if wanted.get(key) == HIDDEN and key in known:
            continue  # what an export did not show stays what it is
        if value_of(wanted, key) != value_of(known, key):
            yield key, wanted.get(key)


def _held(configs: Mapping[str, str], key: str) -> str:
    return shown(key, value_of(configs, key)) or '""'


def _mirror_change(link: str, wanted: WantedMirror, known: Link | None) -> Change:
    mirror = known.mirrors.get(wanted.topic) if known else None
    if mirror is None:
        return Change(Action.CREATE, link, wanted.topic)
    if mirror.source_topic != wanted.source_topic:
        told = f'it mirrors "{mirror.source_topic}", not "{wanted.source_topic}"'
        return Change(Action.REFUSED, link, wanted.topic, told)
    match mirror.state:
        case MirrorState.ACTIVE:
            return Change(Action.PAUSE if wanted.paused else Action.UNCHANGED, link, wanted.topic)
        case MirrorState.PAUSED:
            return Change(Action.UNCHANGED if wanted.paused else Action.RESUME, link, wanted.topic)
        case _:
            return Change(Action.REFUSED, link, wanted.topic, _why_not(mirror))


def _why_not(mirror: Mirror) -> str:
    if mirror.state is MirrorState.STOPPED:
        return "it is STOPPED, a topic of its own: take it out of the file, or delete the topic and mirror it anew"
    if mirror.state is MirrorState.FAILED:
        return "it has FAILED: take it out of the file, or fail it over, delete the topic and mirror it anew"
    return f"it is {mirror.state}: wait for the end of that"


def _pruned_mirrors(wanted: WantedLink, known: Link) -> Iterator[Change]:
    """Paused, which can be taken back: no mirror ends because a line is missing in a file.

    A link that makes its mirrors by itself keeps them.
    """
    if value_of(known.configs, _AUTO_CREATE) == "true":
        return
    for topic, mirror in sorted(known.mirrors.items()):
        if topic not in wanted.mirrors and mirror.state is MirrorState.ACTIVE:
            yield Change(Action.PAUSE, known.name, topic, "not in the file")


def _pruned_link(link: Link) -> Change:
    live = sorted(topic for topic, mirror in link.mirrors.items() if mirror.state not in _OVER)
    if not live:
        return Change(Action.DELETE, link.name, detail="not in the file")
    told = f"not in the file, but it still has mirror topics: {', '.join(live[:5])}{' ...' if len(live) > 5 else ''}"
    return Change(Action.REFUSED, link.name, detail=f"{told}. Promote or fail them over first")
