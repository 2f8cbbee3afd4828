"""The worker processes of a link as their lead has them: started, spoken to, ended."""

import asyncio
import contextlib
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from typing import Any, Final

from kmirror.engine.copy import now_ms
from kmirror.errors import KmirrorError
from kmirror.process.channel import Channel
from kmirror.process.shares import Pace
from kmirror.process.worker_messages import Hold, Look, Seen

_LAST_WORDS_S: Final = 5.0
_BRAKED: Final = 0.1  # of the time


class WorkerLost(KmirrorError):
    """A worker has ended, and nobody told it to."""


class Worker:
    """`seen` is what it last told of itself, as of `seen_ms`; `pace` how fast it was since it told before."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.seen: Seen | None = None
        self.seen_ms = now_ms()
        self.pace = Pace()
        self.io_limit = 0
        self._taken_s = 0.0
        self._channel: Channel | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._is_gone = False
        self._looks: deque[tuple[int, asyncio.Future[None]]] = deque()

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    async def start(self) -> None:
        """In a session of its own: what is typed at a terminal is for the lead. Raises WorkerLost."""
        ours, theirs = socket.socketpair()
        command = [sys.executable, "-m", "kmirror.process.worker", str(theirs.fileno())]
        try:
            self._process = await asyncio.create_subprocess_exec(
                *command, stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()], start_new_session=True
            )
        except OSError as e:
            ours.close()
            raise WorkerLost(f"worker {self.number} can't be started: {e.strerror}") from e
        finally:
            theirs.close()
        self._channel = await Channel.over(ours)

    def send(self, message: object) -> None:
        if self._channel:
            self._channel.send(message)

    async def receive(self) -> Any:
        """Its next message; None when it is gone."""
        message = await self._channel.receive() if self._channel else None
        if message is None:
            self._is_gone = True
            for _, future in self._looks:
                future.cancel()
        return message

    def look(self, hold: Hold) -> "asyncio.Future[None]":
        """Asks how it stands; done when `seen` tells that, or never will."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self._channel is None or self._is_gone:
            future.cancel()
        else:
            self._looks.append((now_ms(), future))
            self.send(Look(hold))
        return future

    def take(self, seen: Seen) -> Seen | None:
        """What it told before. The last one, at its end, answers no look."""
        before, self.seen = self.seen, seen
        now = time.monotonic()
        if before and now > self._taken_s:
            elapsed = now - self._taken_s
            braked_s = seen.counters.braked_s - before.counters.braked_s
            self.pace = Pace((_bytes(seen) - _bytes(before)) / elapsed, braked_s > _BRAKED * elapsed)
        self._taken_s = now
        if self._looks:
            self.seen_ms, future = self._looks.popleft()
            if not future.done():
                future.set_result(None)
        return before

    async def how_it_ended(self) -> str:
        assert self._process
        try:
            async with asyncio.timeout(_LAST_WORDS_S):
                code = await self._process.wait()
        except TimeoutError:
            return "it closed its socket"
        return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"

    async def end(self) -> None:
        """At once, if it has not ended by itself."""
        if self._channel:
            await self._channel.close()
        if self._process:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()


def _bytes(seen: Seen) -> int:
    return sum(mirror.bytes for mirror in seen.counters.mirrors.values())
