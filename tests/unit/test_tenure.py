"""Tenure: who holds the link, who renews once, and who has to go. The identity is played; time is not waited for."""

import asyncio
from collections.abc import Callable

import pytest

from kmirror.engine import tenure as module
from kmirror.engine.identity import Superseded
from kmirror.engine.tenure import Tenure
from kmirror.errors import ClusterError


class PlayedIdentity:
    """Answers `lease` from a script: an exception to raise, or None; when it is used up all is well."""

    def __init__(self, *script: Exception | None) -> None:
        self.script = list(script)
        self.renewals = 0
        self.leases = 0
        self.changed = False
        self.refusals: list[Exception] = []

    async def renew(self, token: int | None = None) -> bool:
        assert token is None
        if self.refusals:
            raise self.refusals.pop(0)
        self.renewals += 1
        return self.changed

    async def lease(self) -> float:
        self.leases += 1
        fault = self.script.pop(0) if self.script else None
        if fault:
            raise fault
        return 0.0


class Watched:
    def __init__(self, identity: PlayedIdentity) -> None:
        self.identity = identity
        self.held: list[bool] = []
        self.lost = 0
        self.tenure = Tenure(identity, self.held.append, self._on_lost)  # type: ignore[arg-type]

    def _on_lost(self) -> None:
        self.lost += 1

    def run(self, until: Callable[[], bool]) -> None:
        """Runs until `until`; what `run` raises comes through."""

        async def both() -> None:
            task = asyncio.ensure_future(self.tenure.run())
            async with asyncio.timeout(10):
                while not until() and not task.done():  # noqa: ASYNC110
                    await asyncio.sleep(0.001)
            if task.done():
                task.result()
            task.cancel()

        asyncio.run(both())


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_CHECK_S", 0.01)
    monkeypatch.setattr(module, "_STAND_BY_S", (0.01, 0.02))


def gone() -> Superseded:
    return Superseded("another runner took this link over")


def test_it_is_held_after_one_renewal_and_checked_again_and_again() -> None:
    watched = Watched(PlayedIdentity())
    watched.run(lambda: watched.identity.leases > 3)
    assert (watched.held, watched.identity.renewals, watched.lost) == ([False], 1, 0)
    assert watched.tenure.held
    assert watched.tenure.trouble is None


def test_superseded_once_it_stands_by_and_renews_once() -> None:
    """The other token may have been a late request of our own."""
    watched = Watched(PlayedIdentity(None, gone()))
    watched.run(lambda: watched.identity.leases > 4)
    assert (watched.identity.renewals, watched.lost) == (2, 1)
    assert watched.tenure.held


def test_nothing_is_held_while_it_stands_by(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_STAND_BY_S", (60.0, 60.0))
    watched = Watched(PlayedIdentity(gone()))
    watched.run(lambda: watched.lost == 1)
    assert not watched.tenure.held
    assert watched.tenure.trouble is not None
    assert "another runner" in watched.tenure.trouble.message


def test_superseded_again_within_a_minute_it_ends() -> None:
    watched = Watched(PlayedIdentity(None, gone(), None, gone()))
    with pytest.raises(Superseded):
        watched.run(lambda: False)
    assert (watched.identity.renewals, watched.lost) == (2, 2)
    assert not watched.tenure.held


def test_superseded_again_much_later_it_renews_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_AGAIN_S", 0.0)
    watched = Watched(PlayedIdentity(gone(), None, gone()))
    watched.run(lambda: watched.identity.leases > 5)
    assert (watched.identity.renewals, watched.lost) == (3, 2)


def test_two_runs_settle_after_three_renewals() -> None:
    """Both follow the rule on one token: the younger stays, the older ends."""

    class Shared(PlayedIdentity):
        token = 0
        total = 0

        async def renew(self, token: int | None = None) -> bool:
            Shared.token += 1
            Shared.total += 1
            self.mine = Shared.token
            return False

        async def lease(self) -> float:
            if self.mine != Shared.token:
                raise gone()
            return 0.0

    async def both() -> None:
        older, younger = Watched(Shared()), Watched(Shared())
        one = asyncio.ensure_future(older.tenure.run())
        await asyncio.sleep(0.05)
        other = asyncio.ensure_future(younger.tenure.run())
        async with asyncio.timeout(10):
            done, _ = await asyncio.wait([one, other], return_when=asyncio.FIRST_COMPLETED)
        assert done == {one}, "the older one ends"
        with pytest.raises(Superseded):
            one.result()
        await asyncio.sleep(0.1)
        assert not other.done()
        assert younger.tenure.held
        other.cancel()

    asyncio.run(both())
    assert Shared.total <= 4


def test_trouble_is_told_and_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    watched = Watched(PlayedIdentity())
    watched.identity.refusals = [ClusterError("no coordinator"), ClusterError("no coordinator")]
    seen: list[str] = []

    def until() -> bool:
        if watched.tenure.trouble:
            seen.append(watched.tenure.trouble.message)
        return watched.tenure.held and watched.tenure.trouble is None

    watched.run(until)
    assert seen[0] == "destination cluster: no coordinator"
    assert watched.identity.renewals == 1


def test_another_producer_id_is_told() -> None:
    identity = PlayedIdentity()
    identity.changed = True
    watched = Watched(identity)
    watched.run(lambda: bool(watched.held))
    assert watched.held == [True]
