"""ConsumerOffsetSync: consumer groups find at the destination what they have committed at the source."""

import threading
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from typing import ClassVar, Final

from kmirror.engine.copy import now_ms
from kmirror.errors import KmirrorError
from kmirror.log import events
from kmirror.model.filters import GROUP_FILTERS, FilterType, PatternType, parse_filters
from kmirror.model.link import Link
from kmirror.model.mirror import Mirror
from kmirror.model.rights import Need
from kmirror.model.settings import is_on, seconds_of, value_of
from kmirror.model.states import LIVE
from kmirror.state.group_offsets import KnownGroups, read_groups, write_groups
from kmirror.tasks.offset_round import AtSource, Move, Round, commit_round, last_seen, read_source, without
from kmirror.tasks.task import Task, TaskRun

log = events(__name__)

_LOGGED: Final = 50
"""Groups of a round that the log names; `kmirror mirror groups` has them all."""


_NOTHING: Final = AtSource({}, (), {})


@dataclass(slots=True)
class _Last:
    """A mirror that waits for its last round; `error` is what came of it when `done`."""

    topic: str
    done: bool = False
    errors: list[KmirrorError] = field(default_factory=list)


class ConsumerOffsetSync(Task):
    """Two threads may be at it at once, a round and the last one of a mirror: commits are made one after the other.

    What a mirror's last round has committed stays: a round that began before it and ends later leaves it out.
    """

    name: ClassVar[str] = "ConsumerOffsetSync"

    def __init__(self) -> None:
        self._commits = threading.Lock()
        self._known: KnownGroups | None = None
        self._over: set[str] = set()
        """Topic ids of mirrors whose groups belong to the destination now."""
        self._turn = threading.Lock()
        self._waiting: list[_Last] = []

    def period_s(self, configs: Mapping[str, str]) -> float | None:
        on = is_on(configs, "consumer.offset.sync.enable") and value_of(configs, "consumer.offset.group.filters")
        return seconds_of(configs, "consumer.offset.sync.ms") if on else None

    def run(self, run: TaskRun) -> None:
        result = self._sync(run, [m for m in run.link.mirrors.values() if m.state in LIVE])
        for error in (*result.refused.values(), *self._hidden(run, result)):
            run.failed(error)

    @staticmethod
    def _hidden(run: TaskRun, result: Round) -> Iterator[KmirrorError]:
        """Where no group was found at all it may be that we are not told of any."""
        if result.groups or result.refused:
            return
        from kmirror.admin.groups import GroupAdmin

        groups = GroupAdmin(run.source)
        filters = parse_filters(value_of(run.link.configs, "consumer.offset.group.filters"), GROUP_FILTERS).filters
        for found in filters:
            prefixed = found.pattern is PatternType.PREFIXED
            if found.kind is FilterType.INCLUDE and (
                error := groups.hidden(Need("GROUP", "DESCRIBE", found.name, prefixed=prefixed))
            ):
                yield error

    def last_run(self, run: TaskRun, topic: str) -> None:
        """Mirrors that are promoted together have one last round together: each asks for every group."""
        mine = _Last(topic)
        self._waiting.append(mine)
        with self._turn:
            if not mine.done:
                together = [self._waiting.pop(0) for _ in range(len(self._waiting))]
                wanted = {last.topic for last in together}
                try:
                    result = self._sync(run, [m for t, m in run.link.mirrors.items() if t in wanted], over=True)
                    errors = list(result.refused.values())
                except KmirrorError as e:
                    errors = [e]
                for last in together:
                    last.done, last.errors = True, errors
        for error in mine.errors:
            run.failed(error)

    def failed_over(self, run: TaskRun, topic: str) -> None:
        """What was last seen at the source, as far as it was copied since. The source is not asked."""
        with self._commits:
            found = last_seen(self._remembered(run).offsets, {topic})
            self._commit(run, found, [run.link.mirrors[topic]], over=True)

    def _sync(self, run: TaskRun, mirrors: Collection[Mirror], *, over: bool = False) -> Round:
        from kmirror.admin.groups import GroupAdmin  # librdkafka: only a link with tasks has it

        filters = parse_filters(value_of(run.link.configs, "consumer.offset.group.filters"), GROUP_FILTERS)
        topics = defaultdict(list)
        for mirror in mirrors:
            topics[mirror.source_topic].append(mirror.topic)
        found = read_source(GroupAdmin(run.source), topics, filters.chooses) if topics else _NOTHING
        with self._commits:
            return self._commit(run, found, mirrors, over=over)

    def _commit(self, run: TaskRun, found: AtSource, mirrors: Collection[Mirror], *, over: bool) -> Round:
        """The half of a round that is at the destination; `over`: these mirrors have no other one."""
        from kmirror.admin.groups import GroupAdmin

        ended = {mirror.topic for mirror in mirrors if mirror.destination_topic_id in self._over}
        known = self._remembered(run)
        now = now_ms()
        result = commit_round(
            GroupAdmin(run.destination), without(found, ended), named_at_destination(run.link), known.offsets, now
        )
        if over and not result.refused:
            self._over.update(mirror.destination_topic_id for mirror in mirrors)
        self._known = KnownGroups(result.synced, now)
        try:
            write_groups(run.env.files, self._known)
        except OSError as e:
            log.warning("cannot write groups.json", error=str(e))
        _tell(run, result.moves)
        run.counts.update(groups=result.groups, commits=len(result.moves), groups_in_use=len(result.busy))
        return result

    def _remembered(self, run: TaskRun) -> KnownGroups:
        """Without the mirrors that the link has not any more."""
        known = self._known or read_groups(run.env.files)
        mirrors = run.link.mirrors
        kept = {
            g: {place: at for place, at in places.items() if place[0] in mirrors} for g, places in known.offsets.items()
        }
        return KnownGroups({group: places for group, places in kept.items() if places}, known.at_ms)


def named_at_destination(link: Link) -> Callable[[str], str]:
    """The name that a group of the source has at the destination."""
    prefix = link.prefix if is_on(link.configs, "consumer.group.prefix.enable") else ""
    return lambda group: prefix + group


def _tell(run: TaskRun, moves: Iterable[Move]) -> None:
    by_group = [(group, list(found)) for group, found in groupby(moves, key=lambda move: move.group)]
    for group, found in by_group[:_LOGGED]:
        old, new = (", ".join(texts) for texts in zip(*map(_texts, found), strict=True))
        run.changed(f'group "{group}"', old, new)
    if len(by_group) > _LOGGED:
        run.changes += len(by_group) - _LOGGED
        log.info("changed more groups", task=run.name, groups=len(by_group) - _LOGGED)


def _texts(move: Move) -> tuple[str, str]:
    place = f"{move.place[0]}[{move.place[1]}]"
    return f"{place} {'none' if move.old is None else move.old}", f"{place} {move.new}"
