"""Making mirrors: destination topics as the sources' images, then the record of them, then somebody who copies.

Many are made with few requests; one that fails never stops the others.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Final

from kmirror.admin.cluster import ClusterAdmin
from kmirror.admin.many_topics import create_topics
from kmirror.errors import KmirrorError, LinkBusy, UsageError
from kmirror.model.each import split
from kmirror.model.guard import Guard
from kmirror.model.link import Link, name_fault
from kmirror.model.mirror import Mirror
from kmirror.model.naming import NamingError, source_of
from kmirror.process.control import nudge
from kmirror.process.detached import living, running, start_runner
from kmirror.state.links import LinkStore
from kmirror.state.lock import Runner
from kmirror.state.paths import Home
from kmirror.tasks.guarding import Guarding, take_back
from kmirror.tasks.mirror_making import check_record, make_mirrors
from kmirror.tasks.mirror_plan import MirrorPlan, plan_mirrors
from kmirror.wire.reach import check_reachable

_NO_CONFIGS: Final[Mapping[str, str]] = MappingProxyType({})
_AT_ONCE: Final = 200
"""Topics that are made before they are recorded: what an interruption could leave behind."""


@dataclass(frozen=True, slots=True)
class MirrorOutcome:
    """What became of one: the mirror as it is recorded (without the topic's id after a dry run), or what went wrong."""

    topic: str
    source_topic: str
    mirror: Mirror | None = None
    error: KmirrorError | None = None
    guard: Guard | None = None


@dataclass(frozen=True, slots=True)
class MirrorsCreated:
    """`runner` is None where none was to be started, or where it failed: then `fault` says why."""

    outcomes: tuple[MirrorOutcome, ...]
    runner: Runner | None = None
    fault: KmirrorError | None = None


def create_mirrors(
    home: Home,
    link: str,
    topics: Mapping[str, str | None],
    *,
    replication_factor: int | None = None,
    configs: Mapping[str, str] = _NO_CONFIGS,
    start: bool = True,
    foreground: bool = False,
    dry_run: bool = False,
    guard: bool = False,
    spared: Collection[str] = (),
) -> MirrorsCreated:
    """Raises UsageError, NotFound, Unreachable for what is wrong with all; what is wrong with one is in its outcome.

    `topics` has for each mirror the name of its source topic, None: the usual one. `configs` are of the mirror topics.
    `foreground`: the caller is going to run the link itself, so no other process may. `dry_run` asks both clusters, and
    changes nothing. `guard`: who an ACL lets write to them now is denied it, but for the principals `spared`.
    """
    store = LinkStore(home)
    found = store.get(link)
    sources, outcomes = _named(found, topics)
    if foreground and (busy := running(home, link)):
        raise LinkBusy(
            f'link "{link}" is already running on this machine (pid {busy.pid})',
            hint=f"Stop it with `kmirror link stop {link}`, or leave `--foreground` out.",
        )
    left = list(sources)
    if not left:
        return MirrorsCreated(tuple(outcomes[topic] for topic in topics))
    clusters = _reached(found)
    maker = _Maker(store, found, clusters[1], Guarding(clusters[1], spared) if guard else None)
    for begin in range(0, len(left), _AT_ONCE):
        part = {topic: sources[topic] for topic in left[begin : begin + _AT_ONCE]}
        plans, refused = split(
            plan_mirrors(found, *clusters, part, replication_factor=replication_factor, chosen=configs)
        )
        outcomes |= {topic: MirrorOutcome(topic, part[topic], error=e) for topic, e in refused.items()}
        outcomes |= maker.tried(plans) if dry_run else maker.made(plans)
    in_order = tuple(outcomes[topic] for topic in topics)
    if dry_run or foreground or all(outcome.error for outcome in in_order):
        return MirrorsCreated(in_order)
    return _set_going(home, link, in_order, start=start)


def _named(link: Link, topics: Mapping[str, str | None]) -> tuple[dict[str, str], dict[str, MirrorOutcome]]:
    """The source topic of each mirror; and the outcomes of those that may not be, which no cluster has to be asked."""
    sources, outcomes = {}, {}
    for topic, source_topic in topics.items():
        try:
            for name in (topic, source_topic or topic):
                _check_name(name)
            source = _source_named(link, topic, source_topic)
            check_record(link, topic)
        except KmirrorError as e:
            outcomes[topic] = MirrorOutcome(topic, source_topic or topic, error=e)
        else:
            sources[topic] = source
    return sources, outcomes


def _source_named(link: Link, topic: str, source_topic: str | None) -> str:
    """Raises UsageError where the prefix of the link forbids the name."""
    try:
        return source_of(link.prefix, topic, source_topic)
    except NamingError as e:
        words = f"kmirror mirror create {e.suggested} --link {link.name}"
        raise UsageError(str(e), hint=f"The name is the mirror's, not the source topic's: `{words}`.") from e


def _check_name(name: str) -> None:
    fault = name_fault(name)
    if fault:
        raise UsageError(f'topic name "{name}" {fault}', hint="Choose another name.")
    if name.startswith("__"):
        raise UsageError(f'topic "{name}" is internal', hint="Internal topics belong to their cluster alone.")


def _reached(link: Link) -> tuple[ClusterAdmin, ClusterAdmin]:
    check_reachable(link.source, "source")
    check_reachable(link.destination, "destination")
    return ClusterAdmin(link.source, "source"), ClusterAdmin(link.destination, "destination")


@dataclass(frozen=True, slots=True)
class _Maker:
    """Makes the planned mirrors of a link, guarded where there is a `guarding`."""

    store: LinkStore
    link: Link
    destination: ClusterAdmin
    guarding: Guarding | None

    def tried(self, plans: Mapping[str, MirrorPlan]) -> dict[str, MirrorOutcome]:
        answers = create_topics(self.destination, [plan.new_topic.to_create for plan in plans.values()], dry_run=True)
        return {
            topic: MirrorOutcome(topic, plan.mirror.source_topic, error=answers[topic])
            if answers[topic]
            else MirrorOutcome(topic, plan.mirror.source_topic, plan.mirror, guard=self._guard(topic))
            for topic, plan in plans.items()
        }

    def _guard(self, topic: str) -> Guard | None:
        return self.guarding.of(topic) if self.guarding else None

    def made(self, plans: Mapping[str, MirrorPlan]) -> dict[str, MirrorOutcome]:
        if self.guarding is None:
            made, failed = split(make_mirrors(self.store, self.link, self.destination, plans))
            return self._outcomes(plans, made, failed, {})
        guards, unguarded = split(self.guarding.put_up(self.store, self.link.name, plans))
        wanted = {topic: plan for topic, plan in plans.items() if topic in guards}
        check = partial(self.guarding.check, guards)
        try:
            made, failed = split(make_mirrors(self.store, self.link, self.destination, wanted, check))
        except BaseException:  # interrupted: nobody shall be denied what there is no mirror for
            take_back(self.store, self.link.name, self.destination, guards)
            raise
        still = take_back(self.store, self.link.name, self.destination, failed)
        return self._outcomes(plans, made, {**failed, **unguarded, **still}, guards)

    @staticmethod
    def _outcomes(
        plans: Mapping[str, MirrorPlan],
        made: Mapping[str, Mirror],
        failed: Mapping[str, KmirrorError],
        guards: Mapping[str, Guard],
    ) -> dict[str, MirrorOutcome]:
        return {
            topic: MirrorOutcome(topic, plan.mirror.source_topic, made.get(topic), failed.get(topic), guards.get(topic))
            for topic, plan in plans.items()
        }


def _set_going(home: Home, link: str, outcomes: tuple[MirrorOutcome, ...], *, start: bool) -> MirrorsCreated:
    """A runner that runs is told; else one is started. What goes wrong here does not undo the mirrors."""
    try:
        found = living(home, link)
        if found:
            nudge(home, link)
        elif start:
            found = start_runner(home, link)
    except KmirrorError as e:
        return MirrorsCreated(outcomes, None, e)
    return MirrorsCreated(outcomes, found)
