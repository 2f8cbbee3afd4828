"""The link's producer id, run token and lease, kept by the destination's transaction coordinator.

InitProducerId with the link's transactional id gives the same producer id at each start on any host, and an epoch that
grows by one: the run token. Markers carry the token as coordinator epoch and as producer epoch, and are sent only under
a lease: within half a second of asking whether the token is still ours. Batches carry the epoch that the partition's
leader knows (0 at first), so that runs share one sequence until a younger one has written a marker there.
"""

import asyncio
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Final

from kmirror.engine.denied import explaining
from kmirror.engine.transactions import claim, empty_transaction
from kmirror.errors import ClusterError
from kmirror.log import events
from kmirror.wire import rpc
from kmirror.wire.cluster import Cluster
from kmirror.wire.connection import Connection
from kmirror.wire.errors import TRANSACTIONAL_ID_NOT_FOUND, BrokerError
from kmirror.wire.producer_state import ProducerState
from kmirror.wire.topics import Place

log = events(__name__)

RENEW_S: Final = 24 * 3600.0
"""The coordinator forgets a transactional id that is idle for 7 days (transactional.id.expiration.ms)."""
LEASE_S: Final = 0.5
"""Longer than the way to any cluster on this planet and back: it begins with the question."""
TAKEOVER_S: Final = 1.0
"""Longer than a lease: when it is over, no older run sends markers any more."""


class Superseded(ClusterError):
    """The run token is another's: a younger run of this link lives, on this machine or another."""


class Renewed(ClusterError):
    """The run token is another of ours: what was to be done with the one before was not begun."""


def clock_s() -> float:
    """A clock that goes on while the machine sleeps: a lease must not survive a suspend."""
    if sys.platform == "linux":
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()


class Identity(ABC):
    """What a run is at the destination, whoever keeps it."""

    def __init__(self, transactional_id: str) -> None:
        self.transactional_id = transactional_id
        self.producer_id: int | None = None
        self.run_token: int | None = None
        self.held_since: int | None = None
        """The token since which no other run can have held the link: ours have followed one another without a gap."""
        self.is_first = False
        """There was no run of this link before that."""

    @abstractmethod
    async def renew(self, token: int | None = None) -> bool:
        """Takes a new run token, unless `token` was renewed already; True when the producer id changed.

        Returns when the leases of older runs have ended. Raises ClusterError.
        """

    @abstractmethod
    async def lease(self) -> float:
        """Until when (by `clock_s`) markers may be sent with the current token. Raises Superseded, ClusterError."""

    @abstractmethod
    async def take_offsets(self, token: int, places: Collection[Place]) -> dict[Place, int]:
        """Takes one offset of each by an empty transaction of the link itself; returns the error codes.

        Its markers carry `token`. Raises Renewed, ClusterError: then all are in doubt.
        """

    def check(self, state: ProducerState | None) -> None:
        """Raises Superseded where a partition has taken a marker of a younger run.

        An older one must not go on from there: it would be taken for the younger, with what it read before.
        """
        assert self.run_token is not None
        if state is not None and state.epoch > self.run_token:
            raise Superseded(
                f"another runner took this link over: its run token is {state.epoch} or later, ours {self.run_token}"
            )

    def close(self) -> None:  # noqa: B027  # who has no connection has nothing to close
        """Gives up the connection to who keeps it."""


class OwnIdentity(Identity):
    """Of the process that is the run: it asks the coordinator itself."""

    def __init__(self, destination: Cluster, transactional_id: str) -> None:
        super().__init__(transactional_id)
        self._destination = destination
        self._one_at_a_time = asyncio.Lock()  # a renewal of our own must not look like another run
        self._coordinator: Connection | None = None

    async def renew(self, token: int | None = None) -> bool:
        async with self._one_at_a_time:
            if token is not None and token != self.run_token:
                return False
            connection = await self._connection()
            with self._closed_by_errors(connection):
                first = self.run_token is None and await self._nobody_ran(connection)
                producer_id, new = await claim(connection, self.transactional_id)
            changed = self.producer_id is not None and self.producer_id != producer_id
            first = first and new == 0  # of two first runs at once the later one has to wait
            if not first:
                await asyncio.sleep(TAKEOVER_S)
            if changed or self.run_token is None or new != self.run_token + 1:
                self.held_since, self.is_first = new, first
            self.producer_id, self.run_token = producer_id, new
            log.info("link is held", producer_id=producer_id, run_token=new)
            return changed

    async def _nobody_ran(self, connection: Connection) -> bool:
        """The coordinator knows no run of this link: there is no lease that has to end.

        An epoch of 0 alone does not say that: it comes again, with another producer id, when epochs run out.
        """
        try:
            await rpc.transaction_state(connection, self.transactional_id)
        except BrokerError as e:
            if e.kafka_code == TRANSACTIONAL_ID_NOT_FOUND:
                return True
            raise
        return False

    async def lease(self) -> float:
        async with self._one_at_a_time:
            connection = await self._connection()
            await connection.unthrottled()
            asked = clock_s()
            with self._closed_by_errors(connection):
                found = await rpc.transaction_state(connection, self.transactional_id)
            if found != (self.producer_id, self.run_token):
                raise Superseded(
                    f"another runner took this link over: its run token is {found[1]}, ours {self.run_token}"
                )
            return asked + LEASE_S

    async def take_offsets(self, token: int, places: Collection[Place]) -> dict[Place, int]:
        async with self._one_at_a_time:  # a renewal of ours would end the transaction
            if token != self.run_token:
                raise Renewed(f"the run token is {self.run_token} by now, not {token}")
            assert self.producer_id is not None
            connection = await self._connection()
            await connection.unthrottled()
            with self._closed_by_errors(connection):
                return await empty_transaction(connection, self.transactional_id, (self.producer_id, token), places)

    @contextmanager
    def _closed_by_errors(self, connection: Connection) -> Iterator[None]:
        """After an error the coordinator is looked up anew: it may have moved."""
        with explaining(self._destination.access, self.transactional_id):
            try:
                yield
            except ClusterError:
                connection.close()
                raise

    async def _connection(self) -> Connection:
        if self._coordinator is None or not self._coordinator.alive:
            with explaining(self._destination.access, self.transactional_id):
                self._coordinator = await self._destination.coordinator(self.transactional_id)
        return self._coordinator

    def close(self) -> None:
        if self._coordinator is not None:
            self._coordinator.close()
