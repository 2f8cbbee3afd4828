"""The guard of a mirror: nobody but kmirror may write to it, until it is a topic of its own.

What is going to be denied is recorded before it is, and forgotten only when it is gone: whoever goes on after a crash
takes away exactly what was added, and nothing else.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Final

from kmirror.admin.acls import AclAdmin
from kmirror.admin.checkup import authorizer_of, cluster_rights, topic_rights
from kmirror.admin.cluster import ClusterAdmin
from kmirror.errors import AuthorizationFailed, ClusterError, KmirrorError, UsageError
from kmirror.model.acls import TOPIC, Acl
from kmirror.model.each import Each
from kmirror.model.filters import AclFilter
from kmirror.model.guard import Guard, guard_acls, guard_of, own_principal
from kmirror.model.rights import Need, grant_line
from kmirror.model.states import MirrorState
from kmirror.state.links import LinkStore
from kmirror.wire.credentials import security_of

_OVER: Final = frozenset({MirrorState.STOPPED, MirrorState.FAILED})
_DISABLED: Final = "SECURITY_DISABLED_ERROR"


class Guarding:
    """Guards of new mirrors at one destination, by its ACLs as they are now."""

    def __init__(self, destination: ClusterAdmin, spared: Collection[str]) -> None:
        """Raises KmirrorError where mirrors can't be guarded there; blocks, and changes nothing."""
        own = own_principal(security_of(destination.access))
        if own is None and not spared:
            raise UsageError(
                "cannot guard mirrors: only the destination's brokers know the principal of a link that logs in by a "
                "certificate or a token",
                hint="Name it, so that it is not denied itself: `--guard-except User:CN=mirror`.",
            )
        self._destination = destination
        self._spared = frozenset({*spared, own} if own else spared)
        if "ALTER" not in (cluster_rights(destination) or ()):
            raise AuthorizationFailed(
                "cannot guard mirrors: the destination cluster denies us to change ACLs",
                hint=f"Grant it: `{grant_line(destination.access, Need('CLUSTER', 'ALTER'))}`",
                code="AUTHORIZATION_ERROR",
            )
        self._acls = _on_topics(destination)
        self._authorizer = authorizer_of(destination)

    def of(self, topic: str) -> Guard:
        return guard_of(topic, self._acls, self._spared, self._authorizer)

    def put_up(self, store: LinkStore, link: str, topics: Iterable[str]) -> Each[Guard]:
        """Before the topics are there, so that nobody ever writes to one. What is refused is taken back at once."""
        guards = {topic: self.of(topic) for topic in topics}
        denied = {topic: guard.denied for topic, guard in guards.items() if guard.denied}
        if denied:
            store.change_guards(
                link, lambda known: {**known, **{t: _joined(known.get(t, ()), who) for t, who in denied.items()}}
            )
        refused = _refusals(AclAdmin(self._destination).create(guard_acls(denied)))
        if refused:
            lift_guards(store, link, self._destination, refused)
        return {**guards, **refused}

    def check(self, guards: Mapping[str, Guard], topics: Iterable[str]) -> dict[str, KmirrorError]:
        """Whether kmirror itself may still write to these topics: its principal may have a name that we don't know."""
        asked = [topic for topic in topics if guards[topic].denied]
        held = topic_rights(self._destination, asked) if asked else {}
        return {
            topic: ClusterError(
                f'the guard of mirror topic "{topic}" denied kmirror itself: its principal is one of '
                f"{', '.join(guards[topic].denied)}",
                hint=f'Delete topic "{topic}" at the destination, and name that principal: `--guard-except User:NAME`.',
                code="AUTHORIZATION_ERROR",
            )
            for topic, rights in held.items()
            if rights is not None and "WRITE" not in rights
        }


def lift_guards(
    store: LinkStore, link: str, destination: ClusterAdmin, topics: Iterable[str]
) -> dict[str, KmirrorError]:
    """Takes away what was added for these topics, then forgets it; returns what was refused, by topic. Blocks."""
    known = store.get(link).guards
    mine = {topic: known[topic] for topic in topics if topic in known}
    if not mine:
        return {}
    try:
        refused = _refusals(AclAdmin(destination).delete(guard_acls(mine)))
    except KmirrorError as e:
        return dict.fromkeys(mine, e)
    gone = mine.keys() - refused.keys()
    store.change_guards(link, lambda found: {topic: who for topic, who in found.items() if topic not in gone})
    return {topic: _kept(topic, error) for topic, error in refused.items()}


def take_back(store: LinkStore, link: str, destination: ClusterAdmin, topics: Iterable[str]) -> dict[str, KmirrorError]:
    """As lift_guards, after mirrors could not be made; one that somebody else made meanwhile keeps its guard."""
    mirrors = store.get(link).mirrors
    left = [topic for topic in topics if topic not in mirrors or mirrors[topic].state in _OVER]
    return lift_guards(store, link, destination, left)


def _on_topics(destination: ClusterAdmin) -> set[Acl]:
    try:
        return AclAdmin(destination).find([AclFilter(resource_type=TOPIC)])
    except ClusterError as e:
        if e.code != _DISABLED:
            raise
        raise ClusterError(
            "cannot guard mirrors: the destination cluster has no authorizer, anybody may write there",
            hint="Set authorizer.class.name at its brokers, or leave `--guard` out.",
            code=e.code,
        ) from e


def _joined(known: Iterable[str], more: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted({*known, *more}))


def _refusals(answers: Mapping[Acl, KmirrorError | None]) -> dict[str, KmirrorError]:
    """The first of each topic."""
    found: dict[str, KmirrorError] = {}
    for acl, error in answers.items():
        if error is not None:
            found.setdefault(acl.name, error)
    return found


def _kept(topic: str, error: KmirrorError) -> KmirrorError:
    return ClusterError(
        f'topic "{topic}" is still guarded, others can\'t write to it: {error.message}',
        hint=error.hint,
        code=getattr(error, "code", "INTERNAL_ERROR"),
    )
