"""One round of ConsumerOffsetSync: what groups have committed at the source is committed at the destination.

A group's offsets in the mirror topics are the same numbers as in their sources, so a round only has to find what
changed: the groups at both clusters are listed, what the source's have committed is read, and where that is not what
was synced last, the destination is asked and committed to. A group with members at the destination is left alone,
nothing is ever deleted.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from kmirror.errors import KmirrorError
from kmirror.model.group_offsets import (
    IN_USE,
    KEPT_MS,
    Committed,
    GroupOffsets,
    LogBounds,
    PerGroup,
    Place,
    Step,
    Synced,
    at_rest,
    next_step,
)

Wanted = Mapping[str, Mapping[Place, Committed]]
"""What each group has at the source, by its name there and by the place at the destination."""


class Groups(Protocol):
    """What a round asks of a cluster (admin.groups.GroupAdmin). All of it may raise KmirrorError."""

    def groups(self) -> dict[str, bool]: ...

    def committed(self, groups: Collection[str]) -> PerGroup[dict[Place, Committed]]: ...

    def commit(self, offsets: Mapping[str, Mapping[Place, Committed]]) -> PerGroup[None]: ...

    def log_bounds(self, places: Collection[Place]) -> dict[Place, LogBounds]: ...


@dataclass(frozen=True, slots=True)
class AtSource:
    """`refused`: groups that could not be asked."""

    wanted: Wanted
    present: Collection[str]
    refused: Mapping[str, KmirrorError]


@dataclass(frozen=True, slots=True)
class Move:
    """A commit that was made at the destination; `group` is the name there."""

    group: str
    place: Place
    old: int | None
    new: int


@dataclass(slots=True)
class Round:
    """What came of it. `synced` is all that is known now, `busy` the groups with members at the destination."""

    synced: dict[str, dict[Place, Synced]]
    groups: int = 0
    moves: list[Move] = field(default_factory=list)
    busy: list[str] = field(default_factory=list)
    refused: dict[str, KmirrorError] = field(default_factory=dict)


def read_source(source: Groups, mirrors: Mapping[str, Sequence[str]], chooses: Callable[[str], bool]) -> AtSource:
    """Of the groups that `chooses` takes. `mirrors` are the mirror topics of each source topic."""
    chosen = sorted(group for group in source.groups() if chooses(group))
    answers = source.committed(chosen)
    wanted = {group: found for group, places in answers.found.items() if (found := dict(_mirrored(places, mirrors)))}
    return AtSource(wanted, chosen, answers.refused)


def last_seen(known: GroupOffsets, topics: Collection[str]) -> AtSource:
    """The same without the source, for a failover: what is known of it."""
    wanted = {
        group: {place: synced.source for place, synced in places.items() if place[0] in topics}
        for group, places in known.items()
    }
    return AtSource({group: places for group, places in wanted.items() if places}, known.keys(), {})


def without(found: AtSource, topics: Collection[str]) -> AtSource:
    """The same, but for these mirror topics."""
    wanted = {group: {p: c for p, c in places.items() if p[0] not in topics} for group, places in found.wanted.items()}
    return replace(found, wanted={group: places for group, places in wanted.items() if places})


def commit_round(
    destination: Groups, at_source: AtSource, named: Callable[[str], str], known: GroupOffsets, now_ms: int
) -> Round:
    """`named` gives a group's name at the destination. Groups that are refused are in the result."""
    wanted = at_source.wanted
    out = Round(_kept(known, at_source.present, now_ms), groups=len(wanted), refused=dict(at_source.refused))
    if not wanted:
        return out
    members = destination.groups()
    busy = {group for group in wanted if members.get(named(group))}
    to_ask = {
        named(group): group
        for group, places in wanted.items()
        if group not in busy and (named(group) not in members or not _rests(places, out, group, now_ms))
    }
    there = destination.committed(list(to_ask))
    ends = destination.log_bounds({place for name in there.found for place in wanted[to_ask[name]]})
    commits: dict[str, dict[Place, Committed]] = {}
    for name, found in there.found.items():
        group = to_ask[name]
        for place, committed in wanted[group].items():
            if place not in ends:
                continue  # a partition that the mirror does not have yet
            last = out.synced.get(group, {}).get(place)
            step, offset = next_step(committed, last, found.get(place), ends[place].end, now_ms)
            if step is Step.COMMIT:
                commits.setdefault(name, {})[place] = offset
            elif step is Step.HOLDS and (last is None or (last.source, last.offset) != (committed, offset.offset)):
                _remember(out, group, place, Synced(committed, offset.offset, now_ms))
    answers = destination.commit(commits)
    for name in answers.found:
        for place, offset in sorted(commits[name].items()):
            old = there.found[name].get(place)
            out.moves.append(Move(name, place, old.offset if old else None, offset.offset))
            _remember(out, to_ask[name], place, Synced(wanted[to_ask[name]][place], offset.offset, now_ms))
    for name, error in (there.refused | answers.refused).items():
        if getattr(error, "code", None) == IN_USE:
            busy.add(to_ask[name])  # it got a member just now
        else:
            out.refused[to_ask[name]] = error
    out.busy = sorted(busy)
    return out


def _mirrored(
    places: Mapping[Place, Committed], mirrors: Mapping[str, Sequence[str]]
) -> Iterator[tuple[Place, Committed]]:
    for (topic, partition), committed in places.items():
        for mirror in mirrors.get(topic, ()):
            yield (mirror, partition), committed


def _kept(known: GroupOffsets, present: Collection[str], now_ms: int) -> dict[str, dict[Place, Synced]]:
    """What is remembered on. A group that is not seen at the source may be back soon: its coordinator moves."""
    out = {}
    seen = frozenset(present)
    for group, places in known.items():
        kept = {p: found for p, found in places.items() if group in seen or now_ms - found.synced_ms < KEPT_MS}
        if kept:
            out[group] = kept
    return out


def _rests(places: Mapping[Place, Committed], out: Round, group: str, now_ms: int) -> bool:
    synced = out.synced.get(group, {})
    return all(at_rest(committed, synced.get(place), now_ms) for place, committed in places.items())


def _remember(out: Round, group: str, place: Place, synced: Synced) -> None:
    out.synced.setdefault(group, {})[place] = synced
