"""How much is on its way at a time: to a cluster that is far, more, or the round trips would cost most of the time.

A partition's next fetch can't be sent before the last one is answered: only its answer tells where to go on. So from
far more is asked at a time, and other partitions meanwhile over connections of their own.
"""

from dataclasses import dataclass
from typing import Final

from kmirror.model.settings import LinkSettings

FAR_S: Final = 0.02
"""A round trip that is longer makes a cluster a far one."""
MOST_LANES: Final = 4
_MANY: Final = 500
"""Partitions. An answer stays in memory as long as a part of it waits to be sent, and of so many there is always one
that does: so each is smaller, and as many wait."""
_MANY_RESPONSE_BYTES: Final = 3 << 20
_PIPED_BYTES: Final = 8 << 20
"""Half of the pipes there are, in batches of 128 KB: these take neither memory nor cache, and a fetch costs as much as
several batches."""
REQUEST_BYTES: Final = 2 << 20
"""What makes up a request to a destination that is near: two merged batches."""
_FAR_REQUEST_BYTES: Final = 8 << 20
LEAST_REQUESTS: Final = 5
"""So many are on their way over a pipeline to a broker of the destination, whatever is in them."""
MOST_REQUESTS: Final = 12
_NEAR_BYTES: Final = 6 << 20
"""What a near one takes in within ten milliseconds: while so much is on its way it never waits for us, and what comes
next is not held up for long."""
_FAR_BYTES: Final = LEAST_REQUESTS * _FAR_REQUEST_BYTES
"""Of the link's memory one broker that stands still must not keep all from the others."""
_SOON_S: Final = 2.0
_LATE_S: Final = 8.0  # several of these have to be answered before their deadline


@dataclass(frozen=True, slots=True)
class Window:
    """Of the fetches from one broker: `lanes` at a time, each of another share of its partitions.

    `response_bytes` are asked in each, of one partition at most `partition_bytes` or an equal share of it, whichever is
    more; a partition with `room_bytes` waiting gets no more.
    """

    lanes: int
    response_bytes: int
    partition_bytes: int
    room_bytes: int
    far: bool = False

    def each(self, partitions: int) -> tuple[int, int]:
        """How much of each of so many partitions a fetch asks for; and of one whose batches come in pipes."""
        least = self.partition_bytes
        if self.far:
            share = max(least, self.response_bytes // partitions)
            return share, share
        return least, max(least, min(self.response_bytes, _PIPED_BYTES) // partitions)


def fetch_window(settings: LinkSettings, *, brokers: int, partitions: int, round_trip_s: float) -> Window:
    """At most half of the link's memory waits for answers of all `brokers`, the other half for the destination."""
    share = settings.fetch_buffer_bytes // 2 // max(1, brokers)
    least = settings.partition_fetch_bytes
    if round_trip_s < FAR_S:
        size = min(settings.response_fetch_bytes, max(share, least))
        if partitions >= _MANY:
            size = min(size, max(_MANY_RESPONSE_BYTES, least))
        return Window(1, size, least, size)
    lanes = max(1, min(MOST_LANES, partitions))
    window = max(share, least)
    return Window(lanes, max(window // lanes, least), least, window, far=True)


def far_request_bytes(now: int, answered_in_s: float) -> int:
    """The size of the next requests to a far destination: a way may be long and narrow, and then they take too long."""
    if answered_in_s < _SOON_S:
        return min(_FAR_REQUEST_BYTES, now * 2)
    return max(REQUEST_BYTES, now // 2) if answered_in_s > _LATE_S else now


def has_enough(requests: int, size: int, *, far: bool, answered_in_s: float) -> bool:
    """Whether a pipeline to a broker, with so many requests of so many bytes in all on their way, gets no more.

    A Java producer has at most five, for that is how many batches the broker can tell from ones that are sent again
    (ProducerStateEntry). We send none again before the log end is read anew, and it takes no sequence but the next.
    `answered_in_s`: how long the last answer took.
    """
    if requests < LEAST_REQUESTS:
        return False
    if requests >= MOST_REQUESTS:
        return True
    return size >= _FAR_BYTES or answered_in_s >= _SOON_S if far else size >= _NEAR_BYTES
