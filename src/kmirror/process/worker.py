"""A worker: the process that copies some of a link's partitions, for the runner that leads it (`process/lead.py`).

`python -m kmirror.process.worker FD`, started by the lead alone. It has no files and no terminal, and it ends at once
when its lead does.
"""

import asyncio
import ctypes
import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable
from typing import Any, Final
from weakref import WeakSet

from kmirror.engine.counters import RunCounters
from kmirror.engine.link import LinkEngine
from kmirror.engine.mirror_copy import MirrorCopy
from kmirror.log import events
from kmirror.model.mirror import Mirror, MirrorError
from kmirror.process.channel import Channel
from kmirror.process.lent import Lead, LentIdentity, LentRecorder, LentTenure
from kmirror.process.log_lines import facts_of
from kmirror.process.memory import share_one_arena
from kmirror.process.paced_loop import PacedSelector, run_paced
from kmirror.process.shares import owner_of
from kmirror.process.worker_messages import (
    Answer,
    Begin,
    Ended,
    Failed,
    Hold,
    IoLimit,
    Logged,
    Look,
    Seen,
    Stop,
    Wanted,
)

log = events(__name__)

_SILENT_S: Final = 10.0
"""A lead looks every few seconds: one that does not is frozen, and another run may have taken the link over."""
_WATCH_S: Final = 1.0
_PR_SET_PDEATHSIG: Final = 1
_TOLD_BY_THE_LEAD: Final = "kmirror.engine.link"


class WorkerEngine(LinkEngine):
    """A LinkEngine of some partitions, whose lead is told of all that is there once."""

    def __init__(self, begin: Begin, lead: Lead) -> None:
        self._counted = RunCounters()
        self._lent = LentIdentity(lead, begin.link.transactional_id)
        super().__init__(
            begin.link,
            begin.settings,
            LentRecorder(lead),
            self._counted,
            owns=lambda topic, partition: owner_of(topic, partition, begin.workers) == begin.number,
            identity=self._lent,
            tenure=LentTenure(self._lent, lead),
        )
        self._lead = lead
        self._wanted: dict[str, Mirror] = {}
        self._version = 0
        self._heard_s = 0.0
        self._settled: WeakSet[MirrorCopy] = WeakSet()

    async def run(self) -> None:
        self._heard_s = asyncio.get_running_loop().time()
        self._start(self._listen())
        self._start(self._watch())
        await super().run()

    # --- what the lead says

    async def _listen(self) -> None:
        while (message := await self._lead.channel.receive()) is not None:
            self._heard_s = asyncio.get_running_loop().time()
            self._take(message)
        os._exit(1)  # the lead is gone: nothing may be sent any more, and nobody is there to be told

    def _take(self, message: Any) -> None:
        match message:
            case Wanted():
                self._want(message)
            case Hold():
                self._held(message)
            case Answer():
                self._held(message.hold)
                self._lead.answered(message)
            case Look():
                self._held(message.hold)
                self._lead.send(self.seen())
            case IoLimit():
                self.set_rate(message.bytes_per_s)
            case Stop():
                self.stop()

    def _want(self, wanted: Wanted) -> None:
        self._version = wanted.version
        for topic in wanted.gone:
            self._wanted.pop(topic, None)
        self._wanted.update(wanted.changed)
        self.apply(self._wanted, paused=wanted.paused)

    def _held(self, hold: Hold) -> None:
        was, known = self.tenure.held, self._lent.producer_id
        self._lent.take(hold)
        self.tenure.held = hold.held
        changed = known not in {None, hold.producer_id}
        if was and not hold.held:
            self._close_all()
        elif hold.held and (changed or not was):
            self._on_held(changed)

    async def _watch(self) -> None:
        """Gives the link up while the lead is silent: what it would say of another run is not heard."""
        while True:
            await asyncio.sleep(_WATCH_S)
            if self.tenure.held and asyncio.get_running_loop().time() - self._heard_s > _SILENT_S:
                log.warning("nothing is copied until the runner is heard again", silent_s=_SILENT_S)
                self.tenure.held = False
                self._close_all()

    # --- what it is told

    def seen(self) -> Seen:
        return Seen(self.status(), self._counted, self.budget.held)

    def _fail(self, mirror: MirrorCopy, error: MirrorError) -> None:
        if mirror.error is None:
            mirror.error = error
            mirror.halt()
            self._lead.send(Failed(self._version, mirror.mirror.topic, error))

    def _begin_to_grow(self, mirror: MirrorCopy, partitions: int) -> None:
        """The lead sees it too."""

    async def _settle(self, mirror: MirrorCopy) -> None:
        if mirror not in self._settled:  # it is asked again with each change of what is wanted
            await super()._settle(mirror)
            self._settled.add(mirror)

    async def _release(self, mirror: MirrorCopy) -> None:
        self._lead.send(Ended(self._version, mirror.mirror.topic))


class _ToTheLead(logging.Handler):
    """Sends the records of the log to the lead, but for what it says itself."""

    def __init__(self, send: Callable[[object], None]) -> None:
        super().__init__()
        self._send = send

    def emit(self, record: logging.LogRecord) -> None:
        if record.name == _TOLD_BY_THE_LEAD and record.levelno <= logging.INFO:
            return
        told = {"name": record.name, "levelno": record.levelno, "levelname": record.levelname}
        words = {"msg": record.getMessage(), "created": record.created, "facts": facts_of(record)}
        self._send(Logged({**told, **words}))


async def _work(end: socket.socket, selector: PacedSelector) -> int:
    channel = await Channel.over(end)
    begin = await channel.receive()
    if begin is None:
        return 1
    logger = logging.getLogger("kmirror")
    logger.handlers[:] = [_ToTheLead(channel.send)]
    logger.setLevel(logging.INFO)
    logger.propagate = False
    gc.freeze()  # as the runner
    engine = WorkerEngine(begin, Lead(channel))
    selector.pause_s = engine.pause_s
    try:
        await engine.run()
    except Exception:
        log.exception("worker ends by a fault of kmirror")
        return 1
    finally:
        channel.send(engine.seen())
        await channel.close()
    return 0


def _end_with_the_lead() -> None:
    """By SIGKILL, on Linux (prctl(2)): one that stands still would not see that its lead is gone."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def main() -> int:
    _end_with_the_lead()
    share_one_arena()
    for number in (signal.SIGINT, signal.SIGTERM):  # a service manager sends it to all, and the lead sees to the rest
        signal.signal(number, signal.SIG_IGN)
    os.umask(0o077)
    end = socket.socket(fileno=int(sys.argv[1]))
    return run_paced(lambda selector: _work(end, selector))


if __name__ == "__main__":
    sys.exit(main())
