"""Fills offsets that hold nothing visible with control markers, for the partitions that one destination broker leads.

A marker has no sequence that protects it, so: it is sent only under a lease, behind nothing unconfirmed; a request is
never given up while its connection lives; the log end is read behind it on the same connection; and of a gap of two or
more the last one goes alone, after the others are confirmed, so that a marker of a newer token always has room. That
marker, a partition's first with a token, goes alone too, right behind a look at the log end. Its producer epoch is the
token, too: once it has landed, the partition takes neither older markers nor the batches of an older run, which may
know of a record where the source has a gap by now.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from kmirror.engine.copy import PartitionCopy
from kmirror.engine.identity import LEASE_S, Identity, Superseded, clock_s
from kmirror.engine.steps import Fill
from kmirror.errors import ClusterError
from kmirror.log import events
from kmirror.model.failures import Failure
from kmirror.model.mirror import MirrorError
from kmirror.wire import markers as wire_markers
from kmirror.wire.cluster import Cluster
from kmirror.wire.connection import Connection
from kmirror.wire.errors import CLUSTER_AUTHORIZATION_FAILED, BrokerError, UnsupportedVersion
from kmirror.wire.log_ends import ask_log_ends, log_ends, read_log_ends
from kmirror.wire.markers import OWN_COORDINATOR, MarkerWriter

log = events(__name__)

_MOST_MARKERS: Final = 5000  # a request of so many takes about a third of a second
_LATE_TOLD: Final = 10  # leases in a row that had ended when they came: one or two do where a machine is busy
_TIMEOUT_S: Final = 3600.0  # a frozen broker is waited for: a request that is given up may still land


class GapFiller:
    """`on_filled` is told of a partition that can go on, `on_broken` of one to open anew, `on_end` of one that ends.

    `on_refused`: the right to write markers is missing, nothing was written.
    """

    def __init__(
        self,
        node: int,
        cluster: Cluster,
        identity: Identity,
        *,
        on_filled: Callable[[PartitionCopy], None],
        on_broken: Callable[[PartitionCopy, ClusterError], None],
        on_end: Callable[[PartitionCopy, MirrorError], None],
        on_refused: Callable[[PartitionCopy], None],
        on_superseded: Callable[[Superseded], None],
    ) -> None:
        self._node = node
        self._cluster = cluster
        self._identity = identity
        self._on_filled = on_filled
        self._on_broken = on_broken
        self._on_end = on_end
        self._on_refused = on_refused
        self._on_superseded = on_superseded
        self._waiting: set[PartitionCopy] = set()
        self._work = asyncio.Event()
        self._leased_until = 0.0
        self._leased_token: int | None = None
        self._late = 0

    def ready(self, copy: PartitionCopy) -> None:
        """The next step of `copy` is a gap, and nothing of it is in flight."""
        self._waiting.add(copy)
        self._work.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            if not self._waiting:
                self._work.clear()
                await self._work.wait()
                continue
            counts: dict[PartitionCopy, int] = {}
            try:
                connection = await self._cluster.connection(self._node, "markers")
                await connection.drain()
                fencing = await self._look(connection)
                await connection.unthrottled()  # a marker that the broker reads late would have outlived its lease
                writer = await self._leased_writer()
                # From here to the write nothing is waited for: what is due stays due.
                counts = self._take(writer, fencing)
                if counts:
                    await self._fill(connection, writer, counts)
            except Superseded as e:
                self._give_back(counts, e)
                self._on_superseded(e)
            except ClusterError as e:
                self._give_back(counts, e)

    async def _look(self, connection: Connection) -> set[PartitionCopy]:
        """Of the partitions that wait, those without a marker of our token whose log still ends where it should."""
        unfenced = [copy for copy in self._waiting if copy.fenced_by != self._identity.run_token and self._is_due(copy)]
        if not unfenced:
            return set()
        ends = await log_ends(connection, [(copy.topic, copy.partition) for copy in unfenced])
        still = set()
        for copy in unfenced:
            if not self._is_due(copy) or copy not in self._waiting:
                continue
            end = ends.get((copy.topic, copy.partition))
            if end == copy.appender.log_end:
                still.add(copy)
                continue
            self._waiting.discard(copy)
            if end is None:
                self._on_broken(copy, ClusterError(f"broker {self._node} does not lead {copy.name}"))
            else:
                self._something_landed(copy, end, copy.appender.log_end)
        return still

    def _something_landed(self, copy: PartitionCopy, end: int, wanted: int) -> None:
        """Of an earlier run, perhaps: the tail check at the opening tells what it is."""
        copy.settle_first = True
        self._on_broken(copy, ClusterError(f"the log of {copy.name} ends at {end}, not at {wanted}"))

    def _is_due(self, copy: PartitionCopy) -> bool:
        return copy.is_open and not copy.busy and copy.node == self._node and isinstance(copy.next_step(), Fill)

    def _take(self, writer: MarkerWriter, fencing: set[PartitionCopy]) -> dict[PartitionCopy, int]:
        """How many markers each waiting partition gets now; others wait for the next request."""
        counts: dict[PartitionCopy, int] = {}
        room = _MOST_MARKERS
        for copy in list(self._waiting):
            if room < 1:
                break
            fenced = copy.fenced_by == writer.producer_epoch
            if not fenced and copy not in fencing and self._is_due(copy):
                continue  # it came after the look
            self._waiting.discard(copy)
            step = copy.next_step()
            if self._is_due(copy) and isinstance(step, Fill):
                assert step.base == copy.appender.log_end
                counts[copy] = min(step.count - 1, room) if fenced and step.count > 1 else 1
                room -= counts[copy]
        return counts

    async def _fill(self, connection: Connection, writer: MarkerWriter, counts: dict[PartitionCopy, int]) -> None:
        places = {(copy.topic, copy.partition): count for copy, count in counts.items()}
        try:
            version = connection.version_of(wire_markers.API_KEY, wire_markers.LEAST_VERSION, wire_markers.MOST_VERSION)
        except UnsupportedVersion:  # a broker that keeps the request from clients
            for copy in counts:
                self._on_refused(copy)
            return
        body = wire_markers.encode_markers(version, places, writer)
        if (
            clock_s() > self._leased_until or not connection.writes_now
        ):  # nothing may stand between this look and the write
            self._waiting.update(counts)
            return
        written = connection.send(wire_markers.API_KEY, version, [body], flexible=True, timeout=_TIMEOUT_S)
        for copy in counts:
            copy.marking = True
            copy.marker_in_doubt = writer.producer_epoch
        # Behind the markers on the same connection it is handled behind them, so what it says is final.
        asked = ask_log_ends(connection, list(places), timeout=_TIMEOUT_S)
        answer, answer_of_ends = await asyncio.gather(written, asked)
        errors = wire_markers.decode_markers(answer)
        ends = read_log_ends(connection, answer_of_ends)
        for copy, count in counts.items():
            place = (copy.topic, copy.partition)
            await self._judge(copy, count, writer.producer_epoch, errors.get(place, 0), ends.get(place))

    async def _leased_writer(self) -> MarkerWriter:
        identity = self._identity
        if clock_s() > self._leased_until - LEASE_S / 4 or identity.run_token != self._leased_token:
            self._leased_until = await identity.lease()
            self._leased_token = identity.run_token
            self._late = self._late + 1 if clock_s() > self._leased_until else 0
            if self._late and self._late % _LATE_TOLD == 0:
                log.warning("no marker can be sent: leases have ended before they come", lease_s=LEASE_S)
        assert identity.producer_id is not None
        assert identity.run_token is not None
        return MarkerWriter(identity.producer_id, identity.run_token, OWN_COORDINATOR + identity.run_token)

    async def _judge(self, copy: PartitionCopy, count: int, token: int, error: int, end: int | None) -> None:
        """`end` is the log end behind `count` markers; None where the broker leads the partition no more."""
        copy.marking = False
        copy.marker_in_doubt = None
        fencing = copy.fenced_by != token
        gap = copy.next_step()
        wanted = copy.appender.log_end + count
        if not error and end == wanted:
            copy.fenced_by = token
        if error == CLUSTER_AUTHORIZATION_FAILED:
            self._on_refused(copy)
        elif end is None or end < copy.appender.log_end:
            self._on_broken(copy, BrokerError(error, f"WriteTxnMarkers {copy.name}"))
        elif end > wanted and fencing and isinstance(gap, Fill) and end <= gap.end:
            self._something_landed(copy, end, wanted)
        elif end > wanted:
            await self._overrun(copy, end, wanted)
        elif not copy.is_open:  # halted meanwhile: somebody waits for what was on its way
            copy.offsets_taken(end, token)
            self._on_filled(copy)
        else:
            copy.filled(end, token)
            if error and end < wanted:
                self._on_broken(copy, BrokerError(error, f"WriteTxnMarkers {copy.name}"))
            else:
                self._on_filled(copy)

    async def _overrun(self, copy: PartitionCopy, end: int, wanted: int) -> None:
        """Beyond what was wanted: a runner that took the link over moved it (then it raises), or somebody else did."""
        await self._identity.lease()
        place = f"the log end is {end} where markers should have made it {wanted}"
        message = f"{place}: somebody else wrote to the mirror topic"
        self._on_end(copy, MirrorError(Failure.MARKER_OVERRUN, message, copy.partition, wanted))

    def _give_back(self, counts: dict[PartitionCopy, int], error: ClusterError) -> None:
        """After a fault: those of the request if it was sent, else all that wait here."""
        for copy in list(counts or self._waiting):
            self._waiting.discard(copy)
            copy.in_doubt = copy.in_doubt or copy.marking
            copy.marking = False  # `marker_in_doubt` stays: it says what the next opening has to settle
            self._on_broken(copy, error)
