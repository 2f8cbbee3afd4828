"""The engine's wishes carried out: links.toml and the destination's topics change, in threads beside the event loop."""

import asyncio
from collections.abc import Callable
from dataclasses import replace

from kmirror.engine.copy import now_ms
from kmirror.model.ledger import LostGap
from kmirror.model.mirror import Mirror, MirrorError
from kmirror.model.states import Event, after
from kmirror.state.links import LinkStore
from kmirror.state.runtime import RunFiles


class LinkRecorder:
    """The Recorder of one link; `on_change` is called in the event loop after each change of links.toml."""

    def __init__(self, store: LinkStore, files: RunFiles, link: str, on_change: Callable[[], None]) -> None:
        self._store = store
        self._files = files
        self._link = link
        self._on_change = on_change

    async def failed(self, topic: str, error: MirrorError) -> None:
        def fail(mirror: Mirror) -> Mirror:
            if after(mirror.state, Event.FAILED) is None:
                return mirror  # stopped meanwhile: it is nobody's mirror any more
            return mirror.moved(Event.FAILED, now_ms(), error=error)

        await self._change(topic, fail)

    async def stopped(self, topic: str) -> None:
        from kmirror.admin.mirror_topic import release_topic  # librdkafka is 14 MB that a runner rarely needs

        link = await asyncio.to_thread(self._store.get, self._link)
        mirror = link.mirrors[topic]
        ends = await asyncio.to_thread(release_topic, link.destination_bootstrap, topic, mirror.held_back)
        await self._change(topic, lambda found: replace(found.moved(Event.STOPPED, now_ms()), end_offsets=ends))

    async def lost(self, topic: str, gap: LostGap) -> None:  # noqa: ARG002  # the gap knows its topic
        await asyncio.to_thread(self._files.append_gap, gap)

    async def grow(self, topic: str, partitions: int) -> None:
        from kmirror.admin.mirror_topic import grow_topic  # as above

        link = await asyncio.to_thread(self._store.get, self._link)
        await asyncio.to_thread(grow_topic, link.destination_bootstrap, topic, partitions)
        await self._change(topic, lambda found: replace(found, partitions=partitions))

    async def _change(self, topic: str, edit: Callable[[Mirror], Mirror]) -> None:
        await asyncio.to_thread(self._store.change_mirror, self._link, topic, edit)
        self._on_change()
