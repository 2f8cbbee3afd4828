"""`mirror truncate-and-restore`: the old source of a mirror that was stopped becomes a mirror of it.

From outside the brokers the end of a log can't be cut off. So what the old source alone has is saved to a file, its
topic is deleted and made anew, and the reverse link copies it with the exact offsets. Before the file is written the
topic takes no batch any more (`max.message.bytes` 0): between the last reading and the deletion nothing can come.
Where the old source has nothing of its own its topic stays, and is adopted as it is.

Each step is recorded with the new mirror before the next: PENDING_SETUP_FOR_RESTORE until the file is on disk,
PENDING_RESTORE until the topic is there again.
"""

from collections.abc import Sequence
from pathlib import Path

from kmirror.admin.cluster import ClusterAdmin
from kmirror.errors import Conflict, KmirrorError
from kmirror.model.mirror import Mirror
from kmirror.model.states import MirrorState
from kmirror.ops.mirror_change import known_mirror
from kmirror.ops.restore_groups import refuse_readers
from kmirror.ops.restore_plan import check_alone, plan_restore
from kmirror.ops.restore_topic import PENDING, OneRestoration, Planned, Restored
from kmirror.ops.reverse_link import ReverseLink, check_free, reverse_link
from kmirror.state.links import LinkStore
from kmirror.state.lock import exclusive
from kmirror.state.paths import Home
from kmirror.state.runtime import RunFiles


class Restoration:
    """Of some topics of one link: first `plan`, then, with the user's leave, `carry_out`."""

    def __init__(self, home: Home, link: str, name: str | None) -> None:
        """`name` is the reverse link's. Raises NotFound for the link, Conflict where the reverse one is another's."""
        self._home = home
        self._store = LinkStore(home)
        self._link = self._store.get(link)
        self._name = name
        self.reverse: ReverseLink = reverse_link(home, self._link, name, make=False)

    def plan(self, topics: Sequence[str]) -> list[Planned]:
        """Compares both sides, and changes nothing."""
        out = []
        for topic in dict.fromkeys(topics):
            try:
                out.append(self._plan(topic))
            except KmirrorError as e:
                out.append(Planned(topic, error=e))
        return out

    def _plan(self, topic: str) -> Planned:
        mirror = self._stopped(topic)
        pending = self._pending(mirror)
        if pending and pending.state is MirrorState.PENDING_RESTORE and pending.restore:
            return Planned(topic, mirror.source_topic, None, pending.restore.saved)
        plan = plan_restore(self._link, mirror)
        if not plan.adopt:
            refuse_readers(ClusterAdmin(self._link.source, "source"), mirror.source_topic)
        return Planned(topic, mirror.source_topic, plan)

    def _stopped(self, topic: str) -> Mirror:
        mirror = known_mirror(self._link, topic)
        if mirror.state is not MirrorState.STOPPED:
            raise Conflict(
                f'mirror topic "{topic}" is {mirror.state}: its source is still the one that counts',
                hint=f"After `kmirror mirror failover {topic} --link {self._link.name}` it is the other way round.",
            )
        if not mirror.end_offsets:
            raise Conflict(
                f'where mirror topic "{topic}" ended is not recorded',
                hint=f'Delete topic "{mirror.source_topic}" at the source yourself, and mirror it anew from there.',
            )
        check_alone(self._store.all(), self._link, mirror.source_topic, self.reverse.name)
        return mirror

    def _pending(self, mirror: Mirror) -> Mirror | None:
        """The new mirror, if an earlier call has begun with it."""
        known = self.reverse.link.mirrors.get(mirror.source_topic) if self.reverse.link else None
        if known and known.state in PENDING and known.source_topic_id == mirror.destination_topic_id:
            return known
        check_free(self.reverse.link, mirror.source_topic, MirrorState.PENDING_SETUP_FOR_RESTORE)
        return None

    def carry_out(self, planned: Sequence[Planned], directory: Path) -> list[Restored]:
        """`directory` takes the files. What goes wrong with one topic does not keep the others back.

        Raises StateError while another call does the same.
        """
        self.reverse = reverse_link(self._home, self._link, self._name, make=True)
        with exclusive(RunFiles(self._home, self.reverse.name).create() / "restore.lock"):
            return self._carry_out(planned, directory)

    def _carry_out(self, planned: Sequence[Planned], directory: Path) -> list[Restored]:
        out = []
        for item in planned:
            if item.error:
                out.append(Restored(item.topic, error=item.error))
                continue
            try:
                one = OneRestoration(self._store, self._link, self.reverse.name, self._stopped(item.topic))
                out.append(one.run(item, directory))
            except KmirrorError as e:
                out.append(Restored(item.topic, error=e))
        return out
