"""What a worker has of its lead: someone to tell and to ask, and so the run's identity, its tenure and the ledger."""

import asyncio
from collections.abc import Collection

from kmirror.engine.identity import Identity
from kmirror.engine.tenure import Tenure
from kmirror.model.ledger import LostGap
from kmirror.model.mirror import MirrorError
from kmirror.process.channel import Channel
from kmirror.process.worker_messages import Answer, Ask, Doubt, Hold, Lease, Lost, Question, Renew, TakeOffsets
from kmirror.wire.topics import Place


class Lead:
    """The other end: told, and asked."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self._asked: dict[int, asyncio.Future[Answer]] = {}
        self._number = 0

    def send(self, message: object) -> None:
        self.channel.send(message)

    async def ask(self, what: Question) -> Answer:
        """Raises what it raised there."""
        self._number += 1
        number = self._number
        self._asked[number] = asyncio.get_running_loop().create_future()
        self.send(Ask(number, what))
        try:
            answer = await self._asked[number]
        finally:
            del self._asked[number]
        if answer.refusal:
            raise answer.refusal.error()
        return answer

    def answered(self, answer: Answer) -> None:
        future = self._asked.get(answer.number)
        if future and not future.done():
            future.set_result(answer)


class LentIdentity(Identity):
    def __init__(self, lead: Lead, transactional_id: str) -> None:
        super().__init__(transactional_id)
        self._lead = lead

    def take(self, hold: Hold) -> None:
        self.producer_id, self.run_token = hold.producer_id, hold.run_token
        self.held_since, self.is_first = hold.held_since, hold.is_first

    async def renew(self, token: int | None = None) -> bool:
        before = self.producer_id
        return (await self._lead.ask(Renew(token))).hold.producer_id != before

    async def lease(self) -> float:
        return float((await self._lead.ask(Lease())).value)  # by a clock that is the same in all processes

    async def take_offsets(self, token: int, places: Collection[Place]) -> dict[Place, int]:
        return dict((await self._lead.ask(TakeOffsets(token, places))).value)


class LentTenure(Tenure):
    """Held as long as the lead says so."""

    def __init__(self, identity: Identity, lead: Lead) -> None:
        super().__init__(identity, on_held=lambda _changed: None, on_lost=lambda: None)
        self._lead = lead

    def look(self) -> None:
        self._lead.send(Doubt())

    async def run(self) -> None:
        """Nothing: whether it is held comes from the lead."""


class LentRecorder:
    """The ledger is the lead's. What else is recorded of mirrors, the lead finds out and records itself."""

    def __init__(self, lead: Lead) -> None:
        self._lead = lead

    async def lost(self, topic: str, gap: LostGap) -> None:  # noqa: ARG002  # the gap knows its topic
        await self._lead.ask(Lost(gap))

    async def failed(self, topic: str, error: MirrorError) -> None:
        raise NotImplementedError

    async def stopped(self, topic: str) -> None:
        raise NotImplementedError

    async def grow(self, topic: str, partitions: int) -> None:
        raise NotImplementedError
