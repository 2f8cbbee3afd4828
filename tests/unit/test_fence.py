"""The link's own empty transactions, with a coordinator that is played: for which partitions, and what is in doubt."""

import asyncio
from collections.abc import Callable, Collection

import pytest

from kmirror.engine import fence as module
from kmirror.engine import transactions
from kmirror.engine.budget import Budget
from kmirror.engine.copy import PartitionCopy
from kmirror.engine.fence import Fence
from kmirror.engine.identity import Renewed
from kmirror.errors import ClusterError
from kmirror.model.mirror import Mirror
from kmirror.model.states import MirrorState
from kmirror.wire import rpc
from kmirror.wire.errors import (
    CONCURRENT_TRANSACTIONS,
    OPERATION_NOT_ATTEMPTED,
    TOPIC_AUTHORIZATION_FAILED,
    TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
    BrokerError,
    ConnectionLost,
)
from kmirror.wire.markers import OWN_COORDINATOR
from kmirror.wire.producer_state import ProducerState
from kmirror.wire.topic_id import topic_id_text
from kmirror.wire.topics import Place

TOPIC_ID = topic_id_text(bytes(range(16)))
NAME = "kmirror.l.id"


class Played:
    """Cluster, identity and coordinator in one. `denied`: partitions to which nobody may write."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.transactional_id = NAME
        self.producer_id = 7
        self.run_token: int | None = 4
        self.held = asyncio.Lock()
        self.requests: list[list[Place] | str] = []
        self.denied: set[Place] = set()
        self.busy = 0
        self.lost: str | None = None
        self.stage: str | None = "Empty"
        self.stage_error = 0
        self.renewed: list[int] = []
        self.before_end: Callable[[], None] = lambda: None
        monkeypatch.setattr(transactions, "add_partitions", self._add)
        monkeypatch.setattr(transactions, "end_transaction", self._end)
        for user in (module, transactions):
            monkeypatch.setattr(user, "transaction_stage", self._stage)
        monkeypatch.setattr(transactions, "_FIRST_WAIT_S", 0.0)
        self.fence = Fence(self, self)  # type: ignore[arg-type]

    async def take_offsets(self, token: int, places: Collection[Place]) -> dict[Place, int]:
        async with self.held:
            if token != self.run_token:
                raise Renewed("by now")
            return await transactions.empty_transaction(self, NAME, (self.producer_id, token), places)  # type: ignore[arg-type]

    async def renew(self, token: int) -> bool:
        self.renewed.append(token)
        return False

    async def coordinator(self, name: str) -> "Played":
        assert name == NAME
        return self

    def close(self) -> None:
        """Of the connection to the coordinator."""

    async def _add(self, _: object, name: str, producer: tuple[int, int], places: Collection[Place]) -> object:
        assert (name, producer) == (NAME, (7, self.run_token))
        self.requests.append(list(places))
        await asyncio.sleep(0)
        if self.lost == "add":
            raise ConnectionLost("cut")
        if self.busy:
            self.busy -= 1
            return dict.fromkeys(places, CONCURRENT_TRANSACTIONS)
        denied = self.denied & set(places)
        passed = OPERATION_NOT_ATTEMPTED if denied else 0
        return {place: TOPIC_AUTHORIZATION_FAILED if place in denied else passed for place in places}

    async def _end(self, *_: object) -> int:
        self.requests.append("end")
        self.before_end()
        if self.lost == "end":
            raise ConnectionLost("cut")
        self.stage = "CompleteCommit"
        return 0

    async def _stage(self, *_: object) -> str | None:
        if self.stage_error:
            raise BrokerError(self.stage_error, "DescribeTransactions")
        return self.stage


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> Played:
    return Played(monkeypatch)


def copies(count: int) -> list[PartitionCopy]:
    mirror = Mirror("t", "s", TOPIC_ID, TOPIC_ID, count, MirrorState.ACTIVE, 1)
    return [PartitionCopy(mirror, partition, Budget(1 << 20)) for partition in range(count)]


async def all_of(played: Played, waiting: list[PartitionCopy]) -> list[int | BaseException]:
    return await asyncio.gather(*(played.fence.take_offset(copy) for copy in waiting), return_exceptions=True)


def test_all_that_wait_go_in_one_transaction(played: Played) -> None:
    """While one is under way the others wait for the next."""
    waiting = copies(5)
    doubts: list[int | None] = []
    played.busy = 2
    played.before_end = lambda: doubts.extend(copy.marker_in_doubt for copy in waiting)
    assert asyncio.run(all_of(played, waiting)) == [4] * 5
    first, rest = [("t", 0)], [("t", n) for n in range(1, 5)]
    assert played.requests == [first, first, first, "end", rest, "end"]
    assert doubts == [4, None, None, None, None, None, 4, 4, 4, 4]
    assert [copy.marker_in_doubt for copy in waiting] == [None] * 5


def test_one_that_is_refused_never_stops_the_others(played: Played) -> None:
    waiting = copies(3)
    played.denied = {("t", 0), ("t", 2)}
    found = asyncio.run(all_of(played, waiting))
    assert found[1] == 4
    for refused in (found[0], found[2]):
        assert isinstance(refused, BrokerError)
        assert refused.kafka_code == TOPIC_AUTHORIZATION_FAILED
    assert [copy.marker_in_doubt for copy in waiting] == [None] * 3, "nothing was added for any of these"


def test_a_token_that_was_renewed_meanwhile_is_not_in_doubt(played: Played) -> None:
    """Nothing was begun with it: it goes with the next, and that is the one in doubt then."""

    async def act() -> None:
        waiting = copies(2)
        doubts: list[int | None] = []
        played.before_end = lambda: doubts.extend(copy.marker_in_doubt for copy in waiting)
        async with played.held:
            found = asyncio.ensure_future(all_of(played, waiting))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            played.run_token = 5
        assert await found == [5, 5]
        assert doubts[0] == 5

    asyncio.run(act())


@pytest.mark.parametrize("lost", ["add", "end"])
def test_what_is_lost_is_in_doubt_until_the_token_is_renewed(played: Played, lost: str) -> None:
    async def act() -> None:
        waiting = copies(3)
        played.lost = lost
        assert [type(error) for error in await all_of(played, waiting)] == [ConnectionLost] * 3
        assert [copy.marker_in_doubt for copy in waiting] == [4] * 3
        await played.fence.settle(waiting[0])
        assert played.renewed == [4]
        played.lost = None
        assert await all_of(played, waiting) == [4] * 3

    asyncio.run(act())


@pytest.mark.parametrize(
    ("stage", "error", "is_settled"),
    [
        (None, 0, True),
        ("CompleteAbort", 0, True),
        ("Ongoing", 0, False),
        ("PrepareCommit", 0, False),
        (None, TRANSACTIONAL_ID_AUTHORIZATION_FAILED, True),
        (None, 15, False),
    ],
)
def test_before_the_link_is_held_what_an_earlier_run_left_open_is_waited_for(
    played: Played, stage: str | None, error: int, is_settled: bool
) -> None:
    played.run_token, played.stage, played.stage_error = None, stage, error
    (copy,) = copies(1)
    if is_settled:
        asyncio.run(played.fence.settle(copy))
    else:
        with pytest.raises(ClusterError):
            asyncio.run(played.fence.settle(copy))


@pytest.mark.parametrize(
    ("state", "possible"),
    [
        (None, True),
        (ProducerState(0, 9, -1), True),
        (ProducerState(3, -1, 6), True),
        (ProducerState(3, 9, OWN_COORDINATOR), False),
        (ProducerState(3, 9, OWN_COORDINATOR + 3), False),
    ],
)
def test_where_the_link_wrote_markers_by_itself_there_is_none(
    played: Played, monkeypatch: pytest.MonkeyPatch, state: ProducerState | None, possible: bool
) -> None:
    """A coordinator's marker would be refused, and its transaction never end."""

    async def known(*_: object) -> ProducerState | None:
        return state

    async def connection(*_: object) -> None:
        return None

    monkeypatch.setattr(rpc, "producer_state", known)
    monkeypatch.setattr(played, "connection", connection, raising=False)
    assert asyncio.run(played.fence.is_possible(copies(1)[0])) is possible
