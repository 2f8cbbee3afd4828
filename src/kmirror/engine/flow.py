"""The pipes of a link: a fetcher for each source broker, pipelines and a gap filler for each destination broker.

A partition flows once it is opened; what breaks it closes it, and it is opened again when nothing of it is on its way.
"""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from kmirror.engine.brake import Brake
from kmirror.engine.budget import Budget
from kmirror.engine.copy import PartitionCopy, refused_gap
from kmirror.engine.denied import explained
from kmirror.engine.destination import DestinationProducer
from kmirror.engine.gap_filler import GapFiller
from kmirror.engine.identity import Superseded
from kmirror.engine.intake import FetchEvents
from kmirror.engine.mirror_copy import MirrorCopy
from kmirror.engine.opening import Broken, Sides, SourceTrouble, open_partition
from kmirror.engine.pipelines import Pipelines
from kmirror.engine.recorder import Recorder
from kmirror.engine.retention import bridge
from kmirror.engine.source import SourceFetcher
from kmirror.engine.steps import Fill
from kmirror.engine.transaction_filler import TransactionFiller
from kmirror.engine.window import FAR_S
from kmirror.errors import ClusterError, KmirrorError
from kmirror.log import events
from kmirror.model.link import GapFill
from kmirror.model.mirror import MirrorError
from kmirror.model.rights import Need, grant_line
from kmirror.model.settings import LinkSettings
from kmirror.wire.pipes import PipePool

log = events(__name__)


@dataclass(frozen=True, slots=True)
class Above:
    """What the pipes need of the engine that owns them."""

    mirrors: dict[str, MirrorCopy]
    held: Callable[[], bool]
    start: Callable[[Coroutine[Any, Any, None]], "asyncio.Task[None]"]
    fail: Callable[[MirrorCopy, MirrorError], None]
    source_stale: Callable[[], None]
    destination_stale: Callable[[], None]
    doubt: Callable[[Superseded], None]


class Flow:
    def __init__(
        self,
        sides: Sides,
        settings: LinkSettings,
        budget: Budget,
        recorder: Recorder,
        above: Above,
        *,
        brake: Brake,
        gap_fill: GapFill,
    ) -> None:
        """`gap_fill`: which way the destination had when the link was made, for gap.fill.mode=auto."""
        self._sides = sides
        self._source = sides.source
        self._destination = sides.destination
        self._identity = sides.identity
        self._settings = settings
        self._budget = budget
        self._brake = brake
        self._recorder = recorder
        self._engine = above
        self._fetchers: dict[int, SourceFetcher] = {}
        self._gap_fillers: dict[int, GapFiller] = {}
        self._gap_fill = gap_fill if settings.gap_fill_mode == "auto" else GapFill(settings.gap_fill_mode)
        self._transaction_filler = TransactionFiller(
            sides.destination,
            sides.identity,
            sides.transactions,
            sides.fence,
            start=above.start,
            on_filled=self._on_drained,
            on_broken=self._on_broken,
            on_end=self._on_end,
            on_superseded=above.doubt,
        )
        self._pipes = PipePool()
        self._pipelines = Pipelines(self._begin_pipeline)
        self._openers: dict[PartitionCopy, asyncio.Task[None]] = {}

    def _fetched_from(self, copy: PartitionCopy) -> int | None:
        return copy.nearby.choose(self._source.leader(copy.source_topic, copy.partition))

    def _start_fetcher(self, node: int) -> None:
        fetcher = SourceFetcher(
            node,
            self._source,
            self._settings,
            self._budget,
            self._brake,
            tell=FetchEvents(
                on_ready=self._send_on,
                on_end=self._on_end,
                on_out_of_range=self._on_out_of_range,
                on_moved=self.start_fetching,
                on_stale=self._engine.source_stale,
            ),
            brokers=lambda: len(self._fetchers),
            destinations=lambda: self._pipelines.brokers,
            fetched_from=self._fetched_from,
            pipes=self._pipes_for_batches,
        )
        self._fetchers[node] = fetcher
        self._engine.start(fetcher.run())

    def _pipes_for_batches(self) -> PipePool | None:
        """For a destination that is far larger batches are merged, so they have to be in memory."""
        near = self._destination.round_trip_s < FAR_S
        return self._pipes if near and self._destination.takes_pipes else None

    def _on_out_of_range(self, copy: PartitionCopy) -> None:
        self._engine.start(self._bridge(copy))

    async def _bridge(self, copy: PartitionCopy) -> None:
        if copy.bridging:
            return
        if self._may_be_late(copy):  # first: what is lost is told once, and then filled
            await self._settle_first(copy)
            return
        copy.bridging = True
        try:
            gap = await bridge(copy, self._sides.at_source, self._recorder, self._settings.gap_fill_max)
        except Broken as e:
            self._on_end(copy, e.error)
        except KmirrorError as e:
            copy.in_trouble(e, at_source=isinstance(e, ClusterError))
        else:
            if gap:
                log.warning(
                    "offsets are lost: retention overran the mirror",
                    topic=copy.topic,
                    partition=copy.partition,
                    first=gap.base,
                    last=gap.end - 1,
                )
                copy.counters.lost += gap.count
                copy.enqueue(gap)
                self._send_on(copy)
        finally:
            copy.bridging = False
            copy.touch()

    def _begin_pipeline(self, node: int, number: int) -> DestinationProducer:
        producer = DestinationProducer(
            node,
            number,
            self._destination,
            self._budget,
            producer_id=lambda: self._identity.producer_id or 0,
            request_timeout_s=self._settings.request_timeout_s,
            on_drained=self._on_drained,
            on_broken=self._on_broken,
            on_end=self._on_end,
        )
        self._engine.start(producer.run())
        return producer

    def _gap_filler(self, node: int) -> GapFiller:
        if node not in self._gap_fillers:
            filler = GapFiller(
                node,
                self._destination,
                self._identity,
                on_filled=self._on_drained,
                on_broken=self._on_broken,
                on_end=self._on_end,
                on_refused=self._on_refused,
                on_superseded=self._engine.doubt,
            )
            self._gap_fillers[node] = filler
            self._engine.start(filler.run())
        return self._gap_fillers[node]

    def _on_refused(self, copy: PartitionCopy) -> None:
        """No markers here: empty transactions then, unless the link is told to take markers alone."""
        if self._settings.gap_fill_mode == GapFill.MARKERS:
            line = grant_line(self._sides.destination.access, Need("CLUSTER", "ALTER"))
            self._on_end(copy, refused_gap(copy, grant=f"ALTER on the cluster: `{line}`"))
            return
        if self._gap_fill is not GapFill.TRANSACTIONS:
            log.warning("the destination takes no markers: offsets without a record are filled by empty transactions")
            self._gap_fill = GapFill.TRANSACTIONS
        self._on_drained(copy)

    def _send_on(self, copy: PartitionCopy) -> None:
        """Batches go at once, several in flight; a gap waits until nothing is."""
        if not copy.is_open:
            return
        if not isinstance(copy.next_step(), Fill):
            self._pipelines.send_on(copy)
        elif self._may_be_late(copy) and not copy.busy:
            self._engine.start(self._settle_first(copy))
        elif self._gap_fill is GapFill.TRANSACTIONS:
            self._transaction_filler.ready(copy)
        elif not copy.busy:
            self._gap_filler(copy.node).ready(copy)

    def _may_be_late(self, copy: PartitionCopy) -> bool:
        """Something on its way to this partition was given up, by us or by an earlier run: it may still land."""
        return copy.in_doubt or copy.sure_since != self._identity.held_since

    async def _settle_first(self, copy: PartitionCopy) -> None:
        """The source shows a gap where a batch may still land (it was compacted meanwhile), or an earlier run's marker.

        Markers don't move the sequence, so that batch would be taken behind them, at an offset that isn't its own.
        """
        if copy.is_open and self._may_be_late(copy) and not copy.busy:
            copy.settle_first = True
            copy.closed()
            self._on_drained(copy)

    def open_when_due(self, mirror: MirrorCopy, copy: PartitionCopy) -> None:
        due = mirror.running and not copy.is_open and not copy.busy and copy not in self._openers
        if due and self._engine.held():
            self._openers[copy] = self._engine.start(self._open(mirror, copy))
            self._openers[copy].add_done_callback(lambda _: self._openers.pop(copy, None))

    async def _open(self, mirror: MirrorCopy, copy: PartitionCopy) -> None:
        while mirror.running and self._engine.held():
            producer_id = self._identity.producer_id
            try:
                await open_partition(copy, self._sides)
            except Broken as e:
                self._engine.fail(mirror, e.error)
            except Superseded as e:
                self._engine.doubt(e)
                copy.in_trouble(e, at_source=False)
                await asyncio.sleep(copy.backoff.next())
            except ClusterError as e:
                at_source = isinstance(e, SourceTrouble)
                topic = copy.source_topic if at_source else copy.topic
                copy.in_trouble(
                    self._explained(e, Need("TOPIC", "READ", topic), at_source=at_source), at_source=at_source
                )
                if at_source:
                    copy.destination_trouble = None  # it has answered: what is shown is what is missing now
                self._engine.source_stale()
                self._engine.destination_stale()
                await asyncio.sleep(copy.backoff.next())
            else:
                log.debug("opened", topic=copy.topic, partition=copy.partition, offset=copy.appender.log_end)
                if not mirror.running or not self._engine.held() or producer_id != self._identity.producer_id:
                    copy.closed()
                    continue
                self.start_fetching(copy)
                return

    def start_fetching(self, copy: PartitionCopy) -> None:
        """Has it fetched from where it is to be now, if it is not already."""
        node = self._fetched_from(copy)
        if node is None:
            return
        if node not in self._fetchers:
            self._start_fetcher(node)
        self._fetchers[node].fetch(copy)

    def _on_broken(self, copy: PartitionCopy, error: ClusterError) -> None:
        """What was sent is refused or in doubt: once all answers are in, the partition is opened again."""
        copy.in_trouble(self._explained(error, Need("TOPIC", "WRITE", copy.topic)), at_source=False)
        copy.write_denied = error.code == "AUTHORIZATION_ERROR"
        copy.closed()
        self._engine.destination_stale()
        self._on_drained(copy)

    def _explained(self, error: ClusterError, need: Need, *, at_source: bool = False) -> ClusterError:
        cluster = self._sides.source if at_source else self._sides.destination
        return explained(error, cluster.access, self._identity.transactional_id, need=need)

    def _on_drained(self, copy: PartitionCopy) -> None:
        mirror = self._engine.mirrors.get(copy.topic)
        if mirror is None or mirror.partitions.get(copy.partition) is not copy:
            return
        if copy.is_open and copy.ending is not None and copy.drained:
            node = self._fetched_from(copy)
            if node in self._fetchers:
                self._fetchers[node].end(copy)
        self._send_on(copy)
        self.open_when_due(mirror, copy)

    def _on_end(self, copy: PartitionCopy, error: MirrorError) -> None:
        mirror = self._engine.mirrors.get(copy.topic)
        if mirror:
            self._engine.fail(mirror, MirrorError(error.code, error.message, copy.partition, error.offset))

    def pause_s(self) -> float:
        """For how long nothing hurries, in seconds: all that waits, waits for brokers of the destination."""
        return self._pipelines.pause_s()

    async def end_sessions(self) -> None:
        """Leaves nothing behind at the source's brokers. Raises ClusterError."""
        for fetcher in list(self._fetchers.values()):
            await fetcher.end_sessions()
