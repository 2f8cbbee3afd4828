"""Fetch (api 1) by hand, versions 12 (topics by name) and 13 (by topic id, KIP-516): see FetchRequest.json in Kafka.

What a session is (KIP-227) is in `fetch_session`; here it is two numbers and a list of forgotten partitions.
"""

import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from kmirror.wire.errors import ProtocolError
from kmirror.wire.pipes import Pipe
from kmirror.wire.topics import encode_topic, read_topic
from kmirror.wire.varint import encode_unsigned, read_unsigned, skip_tags

API_KEY: Final = 1
BY_NAME: Final = 12
BY_ID: Final = 13
READ_UNCOMMITTED: Final = 0
READ_COMMITTED: Final = 1
WITHOUT_SESSION: Final = (0, -1)
"""Session id and epoch of a request that neither has a session nor wants one (FetchMetadata.LEGACY)."""

_REQUEST: Final = struct.Struct(">iiiibii")  # replica, max wait, min bytes, max bytes, isolation, session id, epoch
_PARTITION: Final = struct.Struct(">iiqiqi")  # index, leader epoch, offset, last fetched epoch, log start, max bytes
_ANSWER: Final = struct.Struct(">ihqqq")  # index, error, high watermark, last stable offset, log start
_ABORTED: Final = struct.Struct(">qq")
_NOTHING_PIPED: Final[Mapping[int, Any]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class FetchPartition:
    """What to fetch: from `offset` on, up to `max_bytes` (one whole batch in any case, if it comes first).

    `last_epoch` is the leader epoch of the batch before `offset`, -1 where it is not known: with it the broker tells
    when its log was cut and went on otherwise (KIP-595).
    """

    topic: str
    topic_id: bytes
    partition: int
    offset: int
    max_bytes: int
    last_epoch: int = -1


@dataclass(frozen=True, slots=True)
class Fetched:
    """One partition of an answer. `topic` is the name or the id, as the version of the request has it.

    `records` is a view into the answer's frame: whole batches, and at its end perhaps a part of one.
    `diverging` is set, with no records, when the log was cut: the offset at which the last known epoch ended.
    `preferred` is the broker that has a nearer replica, -1 for none; then there are no records.
    `aborted` holds (producer id, first offset) of aborted transactions, at isolation level read_committed.
    `piped` tells where in `records` batches begin of which the last bytes are not there: they wait in a pipe; `missing`
    how many came so, wherever they are by now.
    """

    topic: str | bytes
    partition: int
    error: int
    high_watermark: int
    last_stable_offset: int
    log_start: int
    aborted: tuple[tuple[int, int], ...]
    records: memoryview
    diverging: int | None = None
    preferred: int = -1
    piped: Mapping[int, Pipe] = field(default_factory=dict)
    missing: Mapping[int, int] = field(default_factory=dict)


class FetchAnswer(NamedTuple):
    """`session_id` is that of the request's session, or of the new one; 0 where there is none."""

    throttle_ms: int
    error: int
    partitions: list[Fetched]
    session_id: int


def encode_fetch(
    version: int,
    partitions: Sequence[FetchPartition],
    *,
    max_wait_ms: int,
    max_bytes: int,
    isolation: int = READ_COMMITTED,
    min_bytes: int = 1,
    rack: str = "",
    session: tuple[int, int] = WITHOUT_SESSION,
    forgotten: Sequence[FetchPartition] = (),
) -> bytes:
    """The body of a fetch; the order of the partitions is kept, topic by topic.

    With `rack` the leader may name a replica that is nearer, instead of records (KIP-392).
    """
    out = [_REQUEST.pack(-1, max_wait_ms, min_bytes, max_bytes, isolation, *session)]
    for head, items in _by_topic(out, version, partitions):
        out.append(head)
        out.extend(_PARTITION.pack(p.partition, -1, p.offset, p.last_epoch, -1, p.max_bytes) + b"\0" for p in items)
        out.append(b"\0")
    for head, items in _by_topic(out, version, forgotten):
        out.append(head)
        out.append(struct.pack(f">{len(items)}i", *(p.partition for p in items)) + b"\0")
    name_of_rack = rack.encode()
    out.append(encode_unsigned(len(name_of_rack) + 1) + name_of_rack + b"\0")  # no tags
    return b"".join(out)


def _by_topic(
    out: list[bytes], version: int, partitions: Sequence[FetchPartition]
) -> Iterator[tuple[bytes, list[FetchPartition]]]:
    """Appends how many topics there are; yields of each its name or id with the number of partitions, and these."""
    topics: dict[str, list[FetchPartition]] = {}
    for p in partitions:
        topics.setdefault(p.topic, []).append(p)
    out.append(encode_unsigned(len(topics) + 1))
    for name, items in topics.items():
        yield encode_topic(name, items[0].topic_id, len(items), by_id=version >= BY_ID), items


def decode_fetch(
    frame: memoryview, version: int, piped: Mapping[int, Mapping[int, Pipe]] = _NOTHING_PIPED
) -> FetchAnswer:
    """What an answer's frame holds; raises ProtocolError. `piped`: as a FetchReader has led it into pipes."""
    try:
        throttle, error, session_id, topics, position = read_head(frame)
        return FetchAnswer(throttle, error, list(_partitions(frame, topics, position, version, piped)), session_id)
    except (struct.error, IndexError, ValueError) as e:
        raise ProtocolError(f"unreadable fetch response: {e}") from e


def _partitions(
    frame: memoryview, topics: int, position: int, version: int, piped: Mapping[int, Mapping[int, Pipe]]
) -> Iterable[Fetched]:
    for _ in range(topics):
        topic, count, position = read_topic(frame, position, by_id=version >= BY_ID)
        for _ in range(count):
            index, error, high_watermark, stable, log_start, aborted, preferred, start, end = read_partition(
                frame, position
            )
            pipes = piped.get(start, _NOTHING_PIPED)
            missing = {place: len(pipe) for place, pipe in pipes.items()} if pipes else _NOTHING_PIPED
            end -= sum(missing.values())
            if end > len(frame):
                raise ValueError("the records are longer than the frame")
            diverging, position = _diverging(frame, end)
            yield Fetched(
                topic,
                index,
                error,
                high_watermark,
                stable,
                log_start,
                aborted,
                frame[start:end],
                diverging,
                preferred,
                pipes,
                missing,
            )
        position = skip_tags(frame, position)


def read_head(view: memoryview) -> tuple[int, int, int, int, int]:
    """(throttle time in ms, error, session id, number of topics, where the first begins)."""
    position = skip_tags(view, 4)
    throttle, error, session_id = struct.unpack_from(">ihi", view, position)
    topics, position = read_unsigned(view, position + 10)
    return throttle, error, session_id, topics - 1, position


def read_partition(
    view: memoryview, position: int
) -> tuple[int, int, int, int, int, tuple[tuple[int, int], ...], int, int, int]:
    """(index, error, high watermark, last stable offset, log start, aborted transactions, preferred replica, and where
    the records begin and end).
    """
    index, error, high_watermark, stable, log_start = _ANSWER.unpack_from(view, position)
    count, position = read_unsigned(view, position + _ANSWER.size)
    aborted = []
    for _ in range(count - 1):
        aborted.append(_ABORTED.unpack_from(view, position))
        position = skip_tags(view, position + _ABORTED.size)
    preferred = struct.unpack_from(">i", view, position)[0]
    size, position = read_unsigned(view, position + 4)
    end = position + max(0, size - 1)
    return index, error, high_watermark, stable, log_start, tuple(aborted), preferred, position, end


def _diverging(view: memoryview, position: int) -> tuple[int | None, int]:
    """The end offset in the tagged field DivergingEpoch (tag 0), and the position behind all tagged fields."""
    count, position = read_unsigned(view, position)
    end_offset = None
    for _ in range(count):
        tag, position = read_unsigned(view, position)
        size, position = read_unsigned(view, position)
        if tag == 0:
            end_offset = struct.unpack_from(">iq", view, position)[1]
            end_offset = None if end_offset < 0 else end_offset
        position += size
    return end_offset, position
