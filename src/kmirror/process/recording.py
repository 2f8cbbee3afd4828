"""The engine's wishes carried out: links.toml and the destination's topics change, in threads beside the event loop."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace

from kmirror.engine.copy import now_ms
from kmirror.model.ledger import LostGap
from kmirror.model.mirror import Mirror, MirrorError
from kmirror.model.states import Event, MirrorState, after
from kmirror.tasks.growth import PartitionGrowth
from kmirror.tasks.scheduler import TaskScheduler
from kmirror.tasks.task import TaskEnv
from kmirror.tasks.threads import in_thread

log = logging.getLogger(__name__)


class LinkRecorder:
    """The Recorder of one link; `on_change` is called in the event loop after each change of links.toml.

    `tasks` have work of their own when a mirror ends.
    """

    def __init__(
        self, env: TaskEnv, growth: PartitionGrowth, tasks: TaskScheduler, on_change: Callable[[], None]
    ) -> None:
        self._env = env
        self._store = env.store
        self._files = env.files
        self._link = env.link
        self._growth = growth
        self._tasks = tasks
        self._on_change = on_change

    async def failed(self, topic: str, error: MirrorError) -> None:
        def fail(mirror: Mirror) -> Mirror:
            if after(mirror.state, Event.FAILED) is None:
                return mirror  # stopped meanwhile: it is nobody's mirror any more
            return mirror.moved(Event.FAILED, now_ms(), error=error)

        await self._change(topic, fail)

    async def stopped(self, topic: str) -> None:
        await in_thread(lambda: self._release(topic), "kmirror-release")
        self._on_change()

    def _release(self, topic: str) -> None:
        from kmirror.admin.mirror_topic import release_topic  # librdkafka is 14 MB that a runner rarely needs

        mirror = self._store.get(self._link).mirrors[topic]
        if mirror.stop and mirror.stop.event is Event.PROMOTE:
            self._tasks.last_runs(topic)
        else:
            self._tasks.failed_over(topic)
        with self._env.topics:  # no task may set it back to what a mirror has
            link = self._store.get(self._link)
            mirror = link.mirrors[topic]
            if mirror.state is not MirrorState.PENDING_STOPPED:
                return  # another try, of an engine that was replaced, has done it
            ends = release_topic(link.destination_bootstrap, topic, mirror.held_back)
            self._store.change_mirror(
                self._link, topic, lambda found: replace(found.moved(Event.STOPPED, now_ms()), end_offsets=ends)
            )
        self._tasks.released(topic)

    async def lost(self, topic: str, gap: LostGap) -> None:  # noqa: ARG002  # the gap knows its topic
        await asyncio.to_thread(self._files.append_gap, gap)

    async def grow(self, topic: str, partitions: int) -> None:
        with self._growth.growing(topic):
            await in_thread(lambda: self._grow(topic, partitions), "kmirror-grow")
        self._on_change()

    def _grow(self, topic: str, partitions: int) -> None:
        from kmirror.admin.mirror_topic import grow_topic  # as above

        link = self._store.get(self._link)
        grow_topic(link.destination_bootstrap, topic, partitions)
        self._store.change_mirror(self._link, topic, lambda found: replace(found, partitions=partitions))
        log.info("PartitionGrowth: %s: %d partitions -> %d", topic, link.mirrors[topic].partitions, partitions)

    async def _change(self, topic: str, edit: Callable[[Mirror], Mirror]) -> None:
        await asyncio.to_thread(self._store.change_mirror, self._link, topic, edit)
        self._on_change()
