"""Produce (api 0) by hand, versions 9 (topics by name) and 13 (by topic id): see ProduceRequest.json in Kafka.

`_produce.c` does the same where the package was built with a C compiler. The tests hold both equal.
"""

import struct
from typing import Final, NamedTuple

from kmirror.wire.errors import ProtocolError
from kmirror.wire.pipes import Pipe
from kmirror.wire.relay import Part
from kmirror.wire.topics import encode_topic, read_topic
from kmirror.wire.varint import encode_unsigned, read_unsigned, skip_tags

API_KEY: Final = 0
BY_NAME: Final = 9
BY_ID: Final = 13

_HEAD: Final = struct.Struct(">bhi")  # transactional id (null), acks, timeout
_INDEX: Final = struct.Struct(">i")
_ANSWER: Final = struct.Struct(">ihqqq")  # index, error, base offset, log append time, log start
ACKS_ALL: Final = -1


class ProducePartition(NamedTuple):
    """One batch for one partition, perhaps with its last bytes in `pipe`: a request holds at most one for each."""

    topic: str
    topic_id: bytes
    partition: int
    batch: memoryview
    pipe: Pipe | None = None


class Produced(NamedTuple):
    """The answer for one partition. `base_offset` is where the batch landed; -1 with an error."""

    topic: str | bytes
    partition: int
    error: int
    base_offset: int
    message: str | None


def encode_produce(version: int, partitions: list[ProducePartition], *, timeout_ms: int) -> list[Part]:
    """The body as parts that are written one after the other: the batches are not copied."""
    return encode(partitions, timeout_ms, version >= BY_ID)


def decode_produce(frame: memoryview, version: int) -> tuple[int, list[Produced]]:
    """(throttle time in ms, partitions) of an answer's frame; raises ProtocolError."""
    try:
        return decode(frame, version >= BY_ID, Produced)
    except (struct.error, IndexError, ValueError) as e:
        raise ProtocolError(f"unreadable produce response: {e}") from e


def encode_slowly(partitions: list[ProducePartition], timeout_ms: int, by_id: bool) -> list[Part]:
    topics: dict[str, list[ProducePartition]] = {}
    for p in partitions:
        topics.setdefault(p.topic, []).append(p)
    out: list[Part] = []
    small = _HEAD.pack(0, ACKS_ALL, timeout_ms) + encode_unsigned(len(topics) + 1)
    for name, items in topics.items():
        small += encode_topic(name, items[0].topic_id, len(items), by_id=by_id)
        for _, _, partition, batch, pipe in items:
            small += _INDEX.pack(partition) + encode_unsigned(len(batch) + (0 if pipe is None else len(pipe)) + 1)
            out += (small, batch) if pipe is None else (b"".join((small, batch)), pipe)
            small = b"\0"
        small += b"\0"
    out.append(small + b"\0")
    return out


def decode_slowly(frame: memoryview, by_id: bool, kind: type[Produced]) -> tuple[int, list[Produced]]:
    out: list[Produced] = []
    position = skip_tags(frame, 4)  # behind the correlation id, which the connection has looked at
    topics, position = read_unsigned(frame, position)
    for _ in range(topics - 1):
        topic, count, position = read_topic(frame, position, by_id=by_id)
        for _ in range(count):
            produced, position = _partition(frame, position, topic, kind)
            out.append(produced)
        position = skip_tags(frame, position)
    return struct.unpack_from(">i", frame, position)[0], out


def _partition(frame: memoryview, position: int, topic: str | bytes, kind: type[Produced]) -> tuple[Produced, int]:
    index, error, base_offset, _, _ = _ANSWER.unpack_from(frame, position)
    position += _ANSWER.size
    count, position = read_unsigned(frame, position)
    message = None
    for _ in range(count - 1):  # record errors: the first one's words are the best there are
        words, position = _nullable_string(frame, position + 4)
        message = message or words
        position = skip_tags(frame, position)
    words, position = _nullable_string(frame, position)
    return kind(topic, index, error, base_offset, message or words), skip_tags(frame, position)


def _nullable_string(frame: memoryview, position: int) -> tuple[str | None, int]:
    size, position = read_unsigned(frame, position)
    if size == 0:
        return None, position
    end = position + size - 1
    return bytes(frame[position:end]).decode(errors="replace"), end


try:
    from kmirror.wire._produce import decode, encode
except ImportError:
    decode, encode = decode_slowly, encode_slowly
