"""ListOffsets (api 2) by hand, versions 4 and 5, for log ends alone: see ListOffsetsRequest.json in Kafka.

It follows every marker, and kafka-python's codec would take longer than all else that a marker costs here.
"""

import asyncio
import struct
from collections.abc import Sequence
from typing import Final

from kmirror.wire.answers import reading
from kmirror.wire.connection import Connection
from kmirror.wire.errors import NONE
from kmirror.wire.topics import Place, by_topic

API_KEY: Final = 2
_LEAST_VERSION: Final = 4
_MOST_VERSION: Final = 5
_REQUEST: Final = struct.Struct(">ibi")  # replica, isolation level, topics
_PARTITION: Final = struct.Struct(">iiq")  # index, leader epoch, timestamp
_COUNT: Final = struct.Struct(">i")
_SIZE: Final = struct.Struct(">h")
_ANSWER: Final = struct.Struct(">ihqqi")  # index, error, timestamp, offset, leader epoch
_AS_REPLICA: Final = -2  # the log end, not the high watermark: they differ after a leader change
_LATEST: Final = -1


async def log_ends(connection: Connection, places: Sequence[Place]) -> dict[Place, int]:
    """The log ends of several partitions; one that answers with an error is left out. Raises ClusterError."""
    await connection.unthrottled()
    return read_log_ends(connection, await ask_log_ends(connection, places, timeout=10.0))


def ask_log_ends(connection: Connection, places: Sequence[Place], *, timeout: float) -> "asyncio.Future[memoryview]":
    """Sends the question at once; the future gives its answer's frame. Raises ConnectionLost, UnsupportedVersion."""
    version = connection.version_of(API_KEY, _LEAST_VERSION, _MOST_VERSION)
    return connection.send(API_KEY, version, [_encode(places)], flexible=False, timeout=timeout)


def read_log_ends(connection: Connection, frame: memoryview) -> dict[Place, int]:
    """What the answer says; gives the connection up and raises ProtocolError where it can't be read."""
    with reading(connection, "ListOffsets"):
        throttle_ms, ends = _decode(frame)
    connection.throttled(throttle_ms)
    return ends


def _encode(places: Sequence[Place]) -> bytes:
    topics = by_topic(places)
    out = [_REQUEST.pack(_AS_REPLICA, 0, len(topics))]
    for name, partitions in topics.items():
        out += [_SIZE.pack(len(name)), name.encode(), _COUNT.pack(len(partitions))]
        out += [_PARTITION.pack(partition, -1, _LATEST) for partition in partitions]
    return b"".join(out)


def _decode(frame: memoryview) -> tuple[int, dict[Place, int]]:
    ends: dict[Place, int] = {}
    throttle_ms, topics = struct.unpack_from(">ii", frame, 4)
    position = 12
    for _ in range(topics):
        size = _SIZE.unpack_from(frame, position)[0]
        if size < 0:
            raise ValueError("a topic without a name")
        name = bytes(frame[position + 2 : position + 2 + size]).decode()
        count = _COUNT.unpack_from(frame, position + 2 + size)[0]
        position += 6 + size
        for _ in range(count):
            partition, error, _, offset, _ = _ANSWER.unpack_from(frame, position)
            position += _ANSWER.size
            if error == NONE:
                ends[name, partition] = offset
    return throttle_ms, ends
