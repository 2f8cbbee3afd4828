"""A lane: fetches one after the other from one source broker, over a connection and in a fetch session of its own.

A partition in which nothing happens costs nothing here. It is looked at when something of it has changed (its copy
calls `touch`), when leaders were read anew, and once in a while in any case, for some things change by time alone.
"""

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import Final

from kmirror.engine.copy import PartitionCopy, now_ms
from kmirror.engine.lag import Sight
from kmirror.wire import fetch as wire_fetch
from kmirror.wire.connection import Connection
from kmirror.wire.errors import ProtocolError
from kmirror.wire.fetch import Fetched, FetchPartition
from kmirror.wire.fetch_session import FetchSession, SessionRequest

_ALL_EVERY_S: Final = 30.0

Place = tuple[str | bytes, int]
"""A partition as answers name it: by topic name or topic id."""


class Lane:
    """`is_ours` says whether a partition is to be fetched from its broker; `on_moved` is told of one that isn't.

    `members` are the partitions that it looks after; `asked` those among them that are fetched, with their generation,
    position, its leader epoch, and how many bytes. `full` wait for room, `avoiding` avoid a nearer replica, of
    `suspect` a batch was found damaged. `busy`: a request waits for its answer.
    """

    def __init__(self, is_ours: Callable[[PartitionCopy], bool], on_moved: Callable[[PartitionCopy], None]) -> None:
        self.wake = asyncio.Event()
        self.session = FetchSession()
        self.members: dict[PartitionCopy, None] = {}
        self.asked: dict[PartitionCopy, tuple[int, int, int, int]] = {}
        self.full: set[PartitionCopy] = set()
        self.avoiding: set[PartitionCopy] = set()
        self.suspect: set[PartitionCopy] = set()
        self.busy = False
        self._is_ours = is_ours
        self._on_moved = on_moved
        self._changed: dict[PartitionCopy, None] = {}
        self._places: dict[Place, PartitionCopy] = {}
        self._given_up: set[Place] = set()
        self._connection: Connection | None = None
        self._version = wire_fetch.BY_ID
        self._each = (0, 0)
        self._slow: frozenset[int] = frozenset()
        self._all_at = 0.0
        self._sight = Sight()

    # --- which partitions

    def add(self, copy: PartitionCopy) -> None:
        """From now on it looks after `copy`, of which no other lane does."""
        assert copy.lane is None
        copy.lane = self
        self.members[copy] = None
        self.touch(copy)

    def touch(self, copy: PartitionCopy) -> None:
        """Something of `copy` has changed, by which more or less or something else may have to be fetched."""
        self._changed[copy] = None
        self.wake.set()

    def made_room(self, copy: PartitionCopy) -> None:
        """Less of `copy` waits to be sent, and nothing else of it has changed."""
        if copy in self.full:
            self.touch(copy)

    def awaits(self, copy: PartitionCopy) -> bool:
        """A request that asks for `copy` waits for its answer."""
        return self.busy and copy in self.asked

    def release(self, copy: PartitionCopy) -> None:
        """From now on another lane may have it."""
        self._leave_out(copy)
        place = self._place(copy)
        if self._places.get(place) is copy:
            del self._places[place]
            self._given_up.add(place)
        self.members.pop(copy)
        self.full.discard(copy)
        self.avoiding.discard(copy)
        self.suspect.discard(copy)
        self._changed.pop(copy, None)
        copy.lane = None

    def look(
        self, *, most: int, room_bytes: int, each: Callable[[int], tuple[int, int]], slow: frozenset[int] = frozenset()
    ) -> None:
        """Takes up what has changed: of `most` partitions at most, of which each is full with `room_bytes` waiting.

        `each` says how many bytes are asked of each of so many partitions (`Window.each`). Those that a broker of
        `slow` leads at the destination are left out; who changes that touches them.
        """
        self._slow = slow
        now = time.monotonic()
        if len(self.members) > most:
            for copy in list(self.members)[most:]:
                self.release(copy)
                self._on_moved(copy)
        if now - self._all_at > _ALL_EVERY_S:
            self._all_at = now
            self._changed.update(self.members)
        changed, self._changed = self._changed, {}
        self._look_at(changed, now, room_bytes)
        if self._each != each(max(1, len(self.asked))):
            self._each = each(max(1, len(self.asked)))
            self._look_at(list(self.asked), now, room_bytes)

    def _look_at(self, copies: Iterable[PartitionCopy], now_s: float, room_bytes: int) -> None:
        for copy in copies:
            if not copy.is_open or not self._is_ours(copy):
                self.release(copy)
                if copy.is_open:
                    self._on_moved(copy)
                continue
            (self.full.add if copy.is_full(room_bytes) else self.full.discard)(copy)
            (self.suspect.add if copy.suspect else self.suspect.discard)(copy)
            if copy.nearby.is_avoided:
                self.avoiding.add(copy)
                self._changed[copy] = None
            else:
                self.avoiding.discard(copy)
            if copy.wants_fetch(now_s, room_bytes) and copy.node not in self._slow:
                self._ask_for(copy)
                continue
            self._leave_out(copy)
            if now_s < copy.retry_fetch_at:
                self._changed[copy] = None

    def _ask_for(self, copy: PartitionCopy) -> None:
        most = copy.bytes_to_fetch(*self._each)
        wish = (copy.generation, copy.position, copy.position_epoch, most)
        if self.asked.get(copy) == wish:
            return
        place = self._place(copy)
        if place in self._given_up or self._places.get(place, copy) is not copy:
            # The broker would leave out what it has told before, perhaps to another copy than this one.
            self.session.restart()
        elif copy not in self.asked and self.session.knows(place):
            copy.keep_in_sight(self._sight)  # it was left out for less than a request: nothing is told twice
        self._places[place] = copy
        self.asked[copy] = wish
        topic = (copy.source_topic, copy.source_topic_id, copy.partition)
        self.session.want(place, FetchPartition(*topic, copy.position, most, copy.position_epoch))

    def _leave_out(self, copy: PartitionCopy) -> None:
        if self.asked.pop(copy, None) is not None:
            copy.look_away()
            place = self._place(copy)
            if self._places.get(place) is copy:
                self.session.drop(place)

    def _place(self, copy: PartitionCopy) -> Place:
        by_id = self._version >= wire_fetch.BY_ID
        return copy.source_topic_id if by_id else copy.source_topic, copy.partition

    # --- what is asked and answered

    def next_request(self) -> SessionRequest:
        self._given_up.clear()
        return self.session.next_request()

    def use(self, connection: Connection, version: int) -> None:
        """The next request goes over `connection`. A new one has a new session: the broker may be another process."""
        if connection is self._connection:
            return
        self._connection = connection
        self.session.restart()
        if version != self._version:  # it names all partitions otherwise
            copies = list(self.asked)
            for copy in copies:
                self._leave_out(copy)
            self._version = version
            for copy in copies:
                self._ask_for(copy)
            self._places = {self._place(copy): copy for copy in copies}

    def answer_for(self, fetched: Fetched) -> tuple[PartitionCopy, bool]:
        """Whose answer it is, and whether its records are what the copy waits for.

        They are not where it was opened anew meanwhile, or its queue was dropped. Raises ProtocolError for a partition
        that was not asked for.
        """
        copy = self._places.get((fetched.topic, fetched.partition))
        if copy is None or copy not in self.asked:
            assert self._connection
            raise ProtocolError(f"{self._connection.name} answered for a partition that was not asked")
        self.touch(copy)
        if fetched.error:
            copy.look_away()
        return copy, copy.is_open and self.asked[copy][:2] == (copy.generation, copy.position)

    def seen(self, copy: PartitionCopy, stable_end: int, asked_ms: int) -> None:
        """An answer tells where the source ends. It ends there until an answer says otherwise."""
        copy.source_seen(stable_end, asked_ms)
        copy.keep_in_sight(self._sight)

    def all_seen(self, asked_ms: int) -> None:
        """All that the last answer tells is taken: of all partitions that it left out nothing is new."""
        sight = self._sight
        sight.answers, sight.asked_ms, sight.answered_ms = sight.answers + 1, asked_ms, now_ms()
