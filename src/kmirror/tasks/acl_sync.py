"""AclSync: ACLs that the filters choose follow the source's. What kmirror did not create it never deletes."""

import threading
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, Final

from kmirror.errors import KmirrorError
from kmirror.log import events
from kmirror.model.acls import Acl, AclPlan, plan_acls, wanted_acls
from kmirror.model.filters import AclFilter, parse_acl_filters
from kmirror.model.guard import guarded_at
from kmirror.model.settings import is_on, seconds_of, value_of
from kmirror.model.states import MirrorState
from kmirror.state.acls import KnownAcls, read_acls, write_acls
from kmirror.tasks.task import Task, TaskRun
from kmirror.wire.credentials import security_of

if TYPE_CHECKING:
    from kmirror.admin.acls import AclAdmin

BARRING: Final = "ACL_BARS_LINK_ERROR"
"""Told with each ACL that denies what kmirror has to do."""

log = events(__name__)


class AclSync(Task):
    """Two threads may be at it at once, a run and the release of a mirror: they take turns at the destination."""

    name: ClassVar[str] = "AclSync"

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._held: tuple[Acl, ...] = ()

    def period_s(self, configs: Mapping[str, str]) -> float | None:
        on = is_on(configs, "acl.sync.enable") and value_of(configs, "acl.filters")
        return seconds_of(configs, "acl.sync.ms") if on else None

    def run(self, run: TaskRun) -> None:
        from kmirror.admin.acls import AclAdmin  # librdkafka: only a link with tasks has it

        filters = parse_acl_filters(value_of(run.link.configs, "acl.filters"))
        try:
            found = AclAdmin(run.source).find(filters)
        except KmirrorError:
            self.released(run, "")  # what could not be done then needs no source
            raise
        with self._turn:
            # The source's mirrors may be guarded by our own hand: that is no matter of other clusters.
            guards = guarded_at(run.env.store.all().values(), run.link.source_cluster_id)
            self._round(run, frozenset(found) - guards, filters)

    def released(self, run: TaskRun, topic: str) -> None:  # noqa: ARG002  # all that are released get theirs
        """Writers get what was held back of them, by what was last seen of the source: it may be dead."""
        with self._turn:
            self._round(run, read_acls(run.env.files).source, ())

    def _round(self, run: TaskRun, source: frozenset[Acl], filters: Collection[AclFilter]) -> None:
        """Without `filters` nothing is deleted."""
        from kmirror.admin.acls import AclAdmin

        destination = AclAdmin(run.destination)
        mirrors = run.recorded().mirrors.values()
        stopped = {mirror.topic for mirror in mirrors if mirror.state is MirrorState.STOPPED}
        wanted = wanted_acls(source, {mirror.topic for mirror in mirrors} - stopped, stopped, _own(run))
        self._tell_held(wanted.held)
        for acl in wanted.barring:
            run.problem(BARRING, f'"{acl}" would keep kmirror itself from its mirrors: it is not given')
        known = read_acls(run.env.files)
        plan = plan_acls(wanted.acls, destination.find([AclFilter()]), known.ours, filters)
        # Before they are created: should we die in between, the next run knows that they are ours.
        ours = {**known.ours, **{acl: wanted.acls[acl] for acl in plan.create}}
        before = KnownAcls(ours, source)
        if before != known:
            write_acls(run.env.files, before)
        gone = {*plan.forget, *_carry_out(run, destination, plan)}
        if gone:
            write_acls(run.env.files, replace(before, ours={a: o for a, o in ours.items() if a not in gone}))
        run.counts.update(acls=len(wanted.acls), held_back=len(wanted.held))

    def _tell_held(self, held: tuple[Acl, ...]) -> None:
        for acl in held:
            if acl not in self._held:
                log.info("held back while it covers a mirror", task=self.name, acl=str(acl))
        self._held = held


def _own(run: TaskRun) -> set[str]:
    """By which the destination knows kmirror, where that is told by a name: what a certificate is, its broker says."""
    username = security_of(run.link.destination).username
    return {f"User:{username}"} if username else set()


def _carry_out(run: TaskRun, destination: "AclAdmin", plan: AclPlan) -> list[Acl]:
    """Tells of each change and each refusal; returns what is not ours then."""
    gone = []
    for acl, error in destination.create(plan.create).items():
        if error is None:
            run.changed("ACL", None, acl)
        else:
            run.failed(error)
            gone.append(acl)
    for acl, error in destination.delete(plan.delete).items():
        if error is None:
            run.changed("ACL", acl, None)
            gone.append(acl)
        else:
            run.failed(error)
    return gone
