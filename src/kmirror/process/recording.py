"""The engine's wishes carried out: links.toml and the destination's topics change, in threads beside the event loop."""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Final

from kmirror.engine.copy import now_ms
from kmirror.engine.together import Together
from kmirror.errors import KmirrorError
from kmirror.log import events
from kmirror.model.each import Each, split
from kmirror.model.ledger import LostGap
from kmirror.model.link import Link
from kmirror.model.mirror import Mirror, MirrorError
from kmirror.model.states import Event, MirrorState, after
from kmirror.tasks.growth import NAME as GROWTH
from kmirror.tasks.growth import PartitionGrowth
from kmirror.tasks.scheduler import TaskScheduler
from kmirror.tasks.task import TaskEnv
from kmirror.tasks.threads import in_thread

log = events(__name__)

_ENDINGS_AT_ONCE: Final = 16  # each has a thread, and asks the clusters


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
        # A promote of a thousand mirrors ends them all at about the same moment.
        self._endings = asyncio.Semaphore(_ENDINGS_AT_ONCE)
        self._released = Together(self._release)
        self._changed = Together(self._change_all)

    async def failed(self, topic: str, error: MirrorError) -> None:
        def fail(mirror: Mirror) -> Mirror:
            if after(mirror.state, Event.FAILED) is None:
                return mirror  # stopped meanwhile: it is nobody's mirror any more
            return mirror.moved(Event.FAILED, now_ms(), error=error)

        await self._change(topic, fail)

    async def stopped(self, topic: str) -> None:
        async with self._endings:
            await in_thread(lambda: self._last_runs(topic), "kmirror-last-runs")
        await self._released.do(topic, None)
        self._on_change()
        async with self._endings:
            await in_thread(lambda: self._tasks.released(topic), "kmirror-released")

    def _last_runs(self, topic: str) -> None:
        mirror = self._store.get(self._link).mirrors[topic]
        if mirror.stop and mirror.stop.event is Event.PROMOTE:
            self._tasks.last_runs(topic)
        else:
            self._tasks.failed_over(topic)

    async def _release(self, topics: Mapping[str, None]) -> Each[None]:
        return await in_thread(lambda: self._release_all(topics), "kmirror-release")

    def _release_all(self, topics: Iterable[str]) -> Each[None]:
        from kmirror.admin.mirror_topic import release_topics  # librdkafka is 14 MB that a runner rarely needs

        with self._env.topics:  # no task may set them back to what a mirror has
            link = self._store.get(self._link)
            # Those that are not, another try, of an engine that was replaced, has released.
            pending = {t: link.mirrors[t] for t in topics if link.mirrors[t].state is MirrorState.PENDING_STOPPED}
            held_back = {topic: mirror.held_back for topic, mirror in pending.items()}
            ends, errors = split(release_topics(link.destination, held_back) if pending else {})

            if still := self._lift_guards(link, ends):  # as long as one holds, its topic is not yet its users'
                ends = {topic: at for topic, at in ends.items() if topic not in still}
                errors |= still

            def stop(mirror: Mirror) -> Mirror:
                return replace(mirror.moved(Event.STOPPED, now_ms()), end_offsets=ends[mirror.topic])

            if ends:
                errors |= split(self._store.change_mirrors(self._link, ends, stop))[1]
        return {**dict.fromkeys(topics), **errors}

    def _lift_guards(self, link: Link, topics: Iterable[str]) -> dict[str, KmirrorError]:
        guarded = [topic for topic in topics if topic in link.guards]
        if not guarded:
            return {}
        from kmirror.tasks.guarding import lift_guards  # as above

        refused = lift_guards(self._store, link.name, self._env.admin(link.destination, "destination"), guarded)
        for topic in guarded:
            if topic not in refused:
                log.info("changed", what=f'guard of topic "{topic}"', old=", ".join(link.guards[topic]), new="(none)")
        return refused

    async def lost(self, topic: str, gap: LostGap) -> None:  # noqa: ARG002  # the gap knows its topic
        await asyncio.to_thread(self._files.append_gap, gap)

    async def grow(self, topic: str, partitions: int) -> None:
        with self._growth.growing(topic):
            await in_thread(lambda: self._grow(topic, partitions), "kmirror-grow")
        self._on_change()

    def _grow(self, topic: str, partitions: int) -> None:
        from kmirror.admin.mirror_topic import grow_topic  # as above

        link = self._store.get(self._link)
        grow_topic(link.destination, topic, partitions)
        self._store.change_mirror(self._link, topic, lambda found: replace(found, partitions=partitions))
        old = link.mirrors[topic].partitions
        log.info("changed", task=GROWTH, what=f'topic "{topic}" partitions', old=old, new=partitions)

    async def _change(self, topic: str, edit: Callable[[Mirror], Mirror]) -> None:
        await self._changed.do(topic, edit)
        self._on_change()

    async def _change_all(self, edits: Mapping[str, Callable[[Mirror], Mirror]]) -> Each[Mirror]:
        def edit(mirror: Mirror) -> Mirror:
            return edits[mirror.topic](mirror)

        return await asyncio.to_thread(self._store.change_mirrors, self._link, edits, edit)
