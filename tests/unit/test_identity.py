"""Run token and lease, with a coordinator that is played: when it is asked, and what is done with the answer."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from kmirror.engine import identity as module
from kmirror.engine.identity import LEASE_S, OwnIdentity, Superseded
from kmirror.errors import ClusterError
from kmirror.model.access import Access
from kmirror.wire.errors import TRANSACTIONAL_ID_NOT_FOUND, BrokerError
from kmirror.wire.producer_state import ProducerState


class Coordinator:
    """Destination, connection and coordinator in one; `slow` is what an answer takes, by the played clock."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 500.0
        self.slow = 0.0
        self.access = Access("west:9092")
        self.producer_id, self.epoch = 7, -1
        self.unknown = False
        self.fault: ClusterError | None = None
        self.alive = True
        self.connections = 0
        self.told: list[str] = []
        monkeypatch.setattr(module, "clock_s", lambda: self.now)
        monkeypatch.setattr(module, "TAKEOVER_S", 0.01)
        monkeypatch.setattr(module.rpc, "init_producer_id", self._init)
        monkeypatch.setattr(module.rpc, "transaction_state", self._state)

    async def unthrottled(self) -> None:
        """No quota here."""

    async def coordinator(self, transactional_id: str) -> "Coordinator":
        assert transactional_id == "kmirror.l.1"
        self.connections += 1
        self.alive = True
        return self

    def close(self) -> None:
        self.alive = False

    async def _answer(self, what: str) -> tuple[int, int]:
        self.told.append(f"{what} asked")
        await asyncio.sleep(0)
        self.now += self.slow
        if self.fault:
            raise self.fault
        self.told.append(f"{what} answered")
        return self.producer_id, self.epoch

    async def _init(self, connection: object, transactional_id: str) -> tuple[int, int]:
        self.epoch += 1
        self.unknown = False
        return await self._answer("init")

    async def _state(self, connection: object, transactional_id: str) -> tuple[int, int]:
        if self.unknown:
            raise BrokerError(TRANSACTIONAL_ID_NOT_FOUND, "DescribeTransactions")
        return await self._answer("state")


@pytest.fixture
def coordinator(monkeypatch: pytest.MonkeyPatch) -> Coordinator:
    return Coordinator(monkeypatch)


def run(work: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(work)


def made(coordinator: Coordinator) -> OwnIdentity:
    return OwnIdentity(coordinator, "kmirror.l.1")  # type: ignore[arg-type]


def test_it_knows_since_when_nobody_else_can_have_held_the_link(coordinator: Coordinator) -> None:
    async def act() -> None:
        coordinator.epoch = 4  # of an earlier run
        identity = made(coordinator)
        await identity.renew()
        await identity.renew()
        assert (identity.run_token, identity.held_since) == (6, 5), "renewals of its own follow one another"
        assert not identity.is_first
        coordinator.epoch += 1  # another run; or a request of ours whose answer was lost
        await identity.renew()
        assert (identity.run_token, identity.held_since) == (8, 8)
        coordinator.producer_id, coordinator.epoch = 8, 8
        await identity.renew()
        assert (identity.run_token, identity.held_since) == (9, 9), "another producer id"

    run(act())


def test_each_renewal_takes_the_next_token(coordinator: Coordinator) -> None:
    async def act() -> None:
        identity = made(coordinator)
        assert await identity.renew() is False
        assert (identity.producer_id, identity.run_token) == (7, 0)
        assert await identity.renew() is False
        assert identity.run_token == 1
        coordinator.producer_id = 8
        assert await identity.renew() is True, "another producer id: everything is opened anew"

    run(act())


def test_a_token_is_renewed_once_however_many_ask(coordinator: Coordinator) -> None:
    """Each partition whose markers are in doubt asks for it."""

    async def act() -> None:
        identity = made(coordinator)
        await identity.renew()
        await asyncio.gather(*(identity.renew(0) for _ in range(5)))
        assert identity.run_token == 1

    run(act())


def test_the_token_is_not_used_before_older_leases_have_ended(
    coordinator: Coordinator, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert module.TAKEOVER_S < 1
    monkeypatch.undo()
    assert module.TAKEOVER_S >= 2 * LEASE_S

    async def act() -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module.rpc, "init_producer_id", coordinator._init)
            patch.setattr(module.rpc, "transaction_state", coordinator._state)
            identity = made(coordinator)
            loop = asyncio.get_running_loop()
            began = loop.time()
            await identity.renew()
            assert loop.time() - began >= 2 * LEASE_S

    run(act())


@pytest.mark.parametrize(
    ("unknown", "last_epoch", "waits"),
    [
        (True, -1, False),
        (True, 0, True),  # another first run came between the question and the answer
        (False, -1, True),  # epochs ran out: a new producer id begins at 0 again
        (False, 6, True),
    ],
)
def test_only_the_first_run_of_a_link_need_not_wait(
    coordinator: Coordinator, monkeypatch: pytest.MonkeyPatch, unknown: bool, last_epoch: int, waits: bool
) -> None:
    waited: list[float] = []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)

    async def act() -> None:
        coordinator.unknown, coordinator.epoch = unknown, last_epoch
        identity = made(coordinator)
        with monkeypatch.context() as patch:
            patch.setattr(coordinator, "_answer", answer)
            patch.setattr(module.asyncio, "sleep", sleep)
            await identity.renew()
            assert waited == ([module.TAKEOVER_S] if waits else [])
            assert identity.is_first is not waits
            waited.clear()
            await identity.renew()
            assert waited == [module.TAKEOVER_S], "a renewal has an older token beside it"

    async def answer(_: str) -> tuple[int, int]:
        return coordinator.producer_id, coordinator.epoch

    run(act())


def test_a_lease_counts_from_the_asking(coordinator: Coordinator) -> None:
    async def act() -> None:
        identity = made(coordinator)
        await identity.renew()
        coordinator.slow = 3.0
        asked = coordinator.now
        assert await identity.lease() == asked + LEASE_S

    run(act())


@pytest.mark.parametrize(("producer_id", "epoch"), [(7, 1), (8, 0)])
def test_another_token_is_superseded(coordinator: Coordinator, producer_id: int, epoch: int) -> None:
    async def act() -> None:
        identity = made(coordinator)
        await identity.renew()
        coordinator.producer_id, coordinator.epoch = producer_id, epoch
        with pytest.raises(Superseded, match="another runner"):
            await identity.lease()

    run(act())


def test_nothing_is_asked_beside_a_renewal_of_our_own(coordinator: Coordinator) -> None:
    """Between the coordinator's new epoch and its answer, our own renewal would look like another runner."""

    async def act() -> None:
        identity = made(coordinator)
        await identity.renew()
        coordinator.told.clear()
        renewal = asyncio.ensure_future(identity.renew())
        await asyncio.sleep(0)
        await identity.lease()
        await renewal
        assert coordinator.told == ["init asked", "init answered", "state asked", "state answered"]

    run(act())


def test_a_coordinator_that_moved_is_looked_for_again(coordinator: Coordinator) -> None:
    async def act() -> None:
        identity = made(coordinator)
        await identity.renew()
        coordinator.fault = ClusterError("not the coordinator")
        with pytest.raises(ClusterError, match="not the coordinator"):
            await identity.lease()
        coordinator.fault = None
        await identity.lease()
        assert coordinator.connections == 2
        coordinator.fault = ClusterError("not the coordinator")
        with pytest.raises(ClusterError, match="not the coordinator"):
            await identity.renew()
        coordinator.fault = None
        await identity.renew()
        assert coordinator.connections == 3

    run(act())


def test_an_error_is_not_its_own_cause(coordinator: Coordinator) -> None:
    """It was, and ended the runner: whoever looked for what is behind it never came to an end."""

    async def act() -> None:
        identity = made(coordinator)
        coordinator.fault = ClusterError("the connection is lost")
        for ask in (identity.renew, identity.lease):
            with pytest.raises(ClusterError) as caught:
                await ask()
            assert caught.value is coordinator.fault
            assert caught.value.__cause__ is None

    run(act())


def test_a_partition_with_a_marker_of_a_younger_run_is_left_to_it(coordinator: Coordinator) -> None:
    async def act() -> None:
        identity = made(coordinator)
        await identity.renew()
        await identity.renew()
        for state in (None, ProducerState(0, 5), ProducerState(1, -1)):
            identity.check(state)
        with pytest.raises(Superseded, match="run token is 2 or later, ours 1"):
            identity.check(ProducerState(2, 5))

    run(act())
