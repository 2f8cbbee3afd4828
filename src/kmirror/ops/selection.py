"""Which topics a verb is for: those that are named, all of a link, or those that a pattern matches."""

import re
from collections.abc import Iterable, Sequence

from kmirror.admin.cluster import ClusterAdmin
from kmirror.errors import NotFound, UsageError
from kmirror.model.link import Link
from kmirror.model.states import MirrorState
from kmirror.state.links import LinkStore
from kmirror.state.paths import Home
from kmirror.wire.reach import check_reachable


def parse_pattern(text: str) -> re.Pattern[str]:
    """A regular expression for whole names, as in Cluster Linking's REST interface; raises UsageError."""
    try:
        return re.compile(text)
    except re.error as e:
        raise UsageError(
            f'pattern "{text}" is not a regular expression: {e}',
            hint='Any name is ".*", one that begins with orders is "orders.*".',
        ) from e


def select_mirrors(home: Home, link: str, topics: Sequence[str], *, every: bool, pattern: str | None) -> list[str]:
    """The mirror topics that a verb is for, in their order, once each. Raises UsageError, NotFound.

    `every` and `pattern` leave out mirrors that are STOPPED: those are mirrors no more.
    """
    if [bool(topics), every, pattern is not None].count(True) != 1:
        raise UsageError(
            "no mirror topic is given"
            if not (topics or every or pattern is not None)
            else "topics, `--all` and `--pattern` exclude each other",
            hint="Give one of them: TOPIC..., `--all`, or `--pattern REGEX`.",
        )
    wanted = parse_pattern(".*" if pattern is None else pattern)
    found = LinkStore(home).get(link)
    if topics:
        return list(dict.fromkeys(topics))
    alive = [topic for topic, mirror in sorted(found.mirrors.items()) if mirror.state is not MirrorState.STOPPED]
    chosen = [topic for topic in alive if wanted.fullmatch(topic)]
    if not chosen:
        raise _nothing(found, pattern, alive)
    return chosen


def _nothing(link: Link, pattern: str | None, alive: Sequence[str]) -> NotFound:
    stopped = [topic for topic in link.mirrors if topic not in alive and (not pattern or re.fullmatch(pattern, topic))]
    what = "" if pattern is None else f' that matches "{pattern}"'
    but = f": {len(stopped)} are STOPPED already" if stopped else ""
    hint = f"List its mirror topics with `kmirror mirror list --link {link.name}`."
    if pattern is not None:
        hint += ' The pattern is a regular expression for whole names: one that begins with orders is "orders.*".'
    return NotFound(f'link "{link.name}" has no mirror topic{what}{but}', hint=hint)


def matching_sources(home: Home, link: str, pattern: str) -> tuple[list[str], list[str]]:
    """Of the source topics that match the names of the mirrors to be, and those that this link mirrors already.

    Internal topics never match. Raises UsageError, NotFound where nothing matches, Unreachable.
    """
    wanted = parse_pattern(pattern)
    found = LinkStore(home).get(link)
    check_reachable(found.source, "source")
    topics = ClusterAdmin(found.source, "source").topics()
    matching = [topic for topic in topics if wanted.fullmatch(topic) and not topic.startswith("__")]
    if not matching:
        raise NotFound(
            f'no topic of the source cluster of link "{link}" matches "{pattern}"',
            hint="The pattern is a regular expression for whole names: one that begins with orders is "
            f'"orders.*".{_some(topics)}',
        )
    mirrored = {m.source_topic for m in found.mirrors.values() if m.state is not MirrorState.STOPPED}
    return [found.prefix + t for t in matching if t not in mirrored], [t for t in matching if t in mirrored]


def _some(topics: Iterable[str]) -> str:
    shown = [topic for topic in topics if not topic.startswith("__")]
    if not shown:
        return " That cluster shows no topics at all: check the right to describe them."
    more = f" and {len(shown) - 5} more" if len(shown) > 5 else ""
    return f" There are: {', '.join(shown[:5])}{more}."
