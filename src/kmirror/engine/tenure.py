"""A run's time as the one runner of its link: taken at the start, kept up, and given up to a younger run.

Two runners of one link (a thawed one, one on another host) don't harm the log, but one of them has to go. The rule: a
token that is not ours any more may be a late request of our own, so after a random 2 to 5 s it is renewed once;
superseded again within a minute, another runner lives, and this one ends. The younger one stays, after three renewals.
"""

import asyncio
import random
import time
from collections.abc import Callable
from typing import Final

from kmirror.engine.backoff import Backoff, wait_for_event
from kmirror.engine.copy import now_ms
from kmirror.engine.identity import RENEW_S, Identity, Superseded
from kmirror.errors import ClusterError, with_remedy
from kmirror.log import events
from kmirror.model.status import Trouble

log = events(__name__)

_CHECK_S: Final = 5.0
_STAND_BY_S: Final = (2.0, 5.0)
_AGAIN_S: Final = 60.0


class Tenure:
    """`held`: partitions may be opened. `on_held` is told when it begins, and whether the producer id is another."""

    def __init__(self, identity: Identity, on_held: Callable[[bool], None], on_lost: Callable[[], None]) -> None:
        self.held = False
        self.trouble: Trouble | None = None
        self._identity = identity
        self._on_held = on_held
        self._on_lost = on_lost
        self._look = asyncio.Event()
        self._superseded_s: float | None = None

    def look(self) -> None:
        """Somebody doubts that the token is still ours."""
        self._look.set()

    async def run(self) -> None:
        """Until cancelled; raises Superseded when this run has to end."""
        backoff = Backoff()
        renewed_s = 0.0
        while True:
            try:
                if not self.held or time.monotonic() - renewed_s > RENEW_S:
                    changed = await self._identity.renew()
                    renewed_s = time.monotonic()
                    self.held = True
                    self._on_held(changed)
                await self._identity.lease()
            except Superseded as e:
                await self._stand_by(e)
            except ClusterError as e:
                self._in_trouble(e)
                await asyncio.sleep(backoff.next())
            else:
                self.trouble = None
                backoff.reset()
                self._look.clear()
                await wait_for_event(self._look, _CHECK_S)

    async def _stand_by(self, error: Superseded) -> None:
        self.held = False
        self._in_trouble(error)
        self._on_lost()
        now = time.monotonic()
        if self._superseded_s is not None and now - self._superseded_s < _AGAIN_S:
            raise error
        self._superseded_s = now
        delay = random.uniform(*_STAND_BY_S)
        log.warning("standing by", seconds=round(delay, 1), error=error.message)
        await asyncio.sleep(delay)

    def _in_trouble(self, error: ClusterError) -> None:
        message = f"destination cluster: {with_remedy(error)}"
        if self.trouble is None or self.trouble.message != message:
            log.warning("link can't be held", code=error.code, error=message)
        since = self.trouble.since_ms if self.trouble else now_ms()
        self.trouble = Trouble(message, since, error.code)
