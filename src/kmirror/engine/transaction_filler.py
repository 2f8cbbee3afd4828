"""Fills offsets that hold nothing visible by empty transactions: where the destination takes no markers from a client.

Each transaction takes one offset, and they run side by side, one at a time in a partition. The coordinator fences an
older run, so there is no lease; see engine/transactions.py for what makes the log end final. A partition's first offset
with a run token goes another way: see engine/fence.py.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final
from weakref import WeakKeyDictionary

from kmirror.engine.copy import PartitionCopy, refused_gap
from kmirror.engine.fence import Fence
from kmirror.engine.identity import Identity, Superseded
from kmirror.engine.opening import BEHIND_A_MARKER
from kmirror.engine.steps import Fill
from kmirror.engine.transactions import Transactions
from kmirror.errors import ClusterError
from kmirror.model.failures import Failure
from kmirror.model.mirror import MirrorError
from kmirror.wire import rpc
from kmirror.wire.cluster import Cluster
from kmirror.wire.errors import (
    INVALID_PRODUCER_EPOCH,
    INVALID_PRODUCER_ID_MAPPING,
    PRODUCER_FENCED,
    TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
    BrokerError,
)
from kmirror.wire.transactions import Producer

_IN_A_ROW: Final = BEHIND_A_MARKER // 2
"""Then the log end is looked at: the tail check looks further back, so it sees what somebody else wrote between."""
_SIDE_BY_SIDE: Final = 64
_FENCED: Final = frozenset({INVALID_PRODUCER_EPOCH, INVALID_PRODUCER_ID_MAPPING, PRODUCER_FENCED})


class TransactionFiller:
    """`on_filled` is told of a partition that can go on, `on_broken` of one to open anew, `on_end` of one that ends."""

    def __init__(
        self,
        cluster: Cluster,
        identity: Identity,
        transactions: Transactions,
        fence: Fence,
        *,
        start: Callable[[Coroutine[Any, Any, None]], object],
        on_filled: Callable[[PartitionCopy], None],
        on_broken: Callable[[PartitionCopy, ClusterError], None],
        on_end: Callable[[PartitionCopy, MirrorError], None],
        on_superseded: Callable[[Superseded], None],
    ) -> None:
        self._cluster = cluster
        self._identity = identity
        self._transactions = transactions
        self._fence = fence
        self._start = start
        self._on_filled = on_filled
        self._on_broken = on_broken
        self._on_end = on_end
        self._on_superseded = on_superseded
        self._room = asyncio.Semaphore(_SIDE_BY_SIDE)
        self._claims: WeakKeyDictionary[PartitionCopy, tuple[int, Producer]] = WeakKeyDictionary()
        self._unfenced: WeakKeyDictionary[PartitionCopy, int | None] = WeakKeyDictionary()
        """With this token it was found that no transaction of the link itself is possible there."""

    def ready(self, copy: PartitionCopy) -> None:
        """The next step of `copy` is a gap, and nothing of it is in flight."""
        if copy.is_open and not copy.busy and isinstance(copy.next_step(), Fill):
            copy.marking = True
            self._start(self._fill(copy))

    async def _fill(self, copy: PartitionCopy) -> None:
        gap = copy.next_step()
        assert isinstance(gap, Fill)
        assert gap.base == copy.appender.log_end
        try:
            async with self._room:
                taken, end, epoch = await self._take(copy, gap)
            fault = await self._fault(copy, gap, taken, end)
        except Superseded as e:
            self._give_up(copy, e)
            self._on_superseded(e)
        except ClusterError as e:
            self._refused(copy, e)
        else:
            copy.marking = False
            self._go_on(copy, end, epoch, fault)

    async def _take(self, copy: PartitionCopy, gap: Fill) -> tuple[int, int, int | None]:
        """Takes the first offsets of `gap`; returns how many, the log end behind them, and the epoch that our producer
        has there now, None if it is as it was.

        The last one goes alone, after the others are confirmed: a marker that was written twice is counted then.
        """
        count = min(gap.count - 1, _IN_A_ROW) if gap.count > 1 else 1
        taken = 0
        try:
            producer = await self._claim(copy)
            if await self._needs_fence(copy):
                token = await self._fence.take_offset(copy)
                return 1, await self._log_end(copy), token
            while taken < count and copy.may_fill(gap.base + taken):
                await self._transactions.take_offset(copy, producer)
                taken += 1
            await self._transactions.complete(copy)
        except BrokerError as e:
            if e.kafka_code in _FENCED:
                await self._identity.lease()  # if that is ours: our transaction timed out, or a claim of ours came late
            raise
        return taken, await self._log_end(copy), None

    async def _needs_fence(self, copy: PartitionCopy) -> bool:
        """Batches of an older run, or of ours from before the token was renewed, would still be taken there."""
        token = self._identity.run_token
        if token in {copy.fenced_by, self._unfenced.get(copy)}:
            return False
        if await self._fence.is_possible(copy):
            return True
        self._unfenced[copy] = token
        return False

    async def _claim(self, copy: PartitionCopy) -> Producer:
        """Ours since the partition was opened.

        The run token is looked at *behind* the claim: a run that took the link over afterwards finds the claim when it
        settles the partition, and fences it. Behind that the log end is final but for what we do.
        """
        generation, producer = self._claims.get(copy, (-1, (-1, -1)))
        if generation != copy.generation:
            generation, producer = copy.generation, await self._transactions.claim(copy)
            await self._identity.lease()
            end = await self._log_end(copy)
            if end != copy.appender.log_end:
                raise ClusterError(f"{copy.name} ends at {end}, not at {copy.appender.log_end}: it is opened again")
            self._claims[copy] = (generation, producer)
        return producer

    async def _log_end(self, copy: PartitionCopy) -> int:
        connection = await self._cluster.connection(copy.node, "markers")
        return await rpc.log_end(connection, copy.topic, copy.partition)

    async def _fault(self, copy: PartitionCopy, gap: Fill, taken: int, end: int) -> ClusterError | MirrorError | None:
        """Whether the log ends where it should behind `taken` transactions. Raises Superseded."""
        wanted = gap.base + taken
        if end == wanted:
            return None
        if end < wanted:
            return ClusterError(f"{copy.name} ends at {end}, not yet at {wanted}")
        await self._identity.lease()  # a run that took the link over may have moved it: then it is not ours to judge
        found = f"the log end is {end} where empty transactions should have made it {wanted}"
        if end - gap.base <= BEHIND_A_MARKER:  # a marker too many harms nothing in a gap: the tail check tells if it is
            return ClusterError(f"{copy.name}: {found}")
        message = f"{found}: somebody else wrote to the mirror topic"
        return MirrorError(Failure.MARKER_OVERRUN, message, copy.partition, wanted)

    def _go_on(
        self, copy: PartitionCopy, end: int, epoch: int | None, fault: ClusterError | MirrorError | None
    ) -> None:
        if fault is None and epoch is not None:
            copy.fenced_by = epoch
        if isinstance(fault, MirrorError):
            self._on_end(copy, fault)
        elif fault is not None:
            self._on_broken(copy, fault)
        elif not copy.is_open:  # halted meanwhile: somebody waits for what was on its way
            copy.offsets_taken(end, epoch)
            self._on_filled(copy)
        else:
            copy.filled(end, epoch)
            self._on_filled(copy)

    def _refused(self, copy: PartitionCopy, fault: ClusterError) -> None:
        if isinstance(fault, BrokerError) and fault.kafka_code == TRANSACTIONAL_ID_AUTHORIZATION_FAILED:
            copy.marking = False
            grant = f'WRITE on the transactional id "{self._transactions.id_of(copy)}", or ALTER on the cluster'
            self._on_end(copy, refused_gap(copy, grant=grant))
        else:
            self._give_up(copy, fault)

    def _give_up(self, copy: PartitionCopy, error: ClusterError) -> None:
        """A transaction may be open, or its marker on the way: the next opening settles that."""
        copy.marking = False
        self._on_broken(copy, error)
