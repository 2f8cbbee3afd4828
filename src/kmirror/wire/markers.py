"""WriteTxnMarkers (api 27) by hand, versions 1 and 2: see WriteTxnMarkersRequest.json in Kafka.

Sent straight to a partition's leader it appends one control marker an entry, without any transaction
(KafkaApis.handleWriteTxnMarkersRequest appends each entry by itself). Thousands of like entries are one bytes object
repeated, so that no time passes between the look at the clock and the write.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from kmirror.wire.errors import ProtocolError
from kmirror.wire.topics import Place
from kmirror.wire.varint import encode_unsigned, read_unsigned, skip_tags

API_KEY: Final = 27
LEAST_VERSION: Final = 1
MOST_VERSION: Final = 2
_COMMIT: Final = 1
_ENTRY: Final = struct.Struct(">qhb")
_ERROR: Final = struct.Struct(">ih")

OWN_COORDINATOR: Final = 1 << 20
"""Coordinator epochs of markers that kmirror writes begin here, those of a real coordinator stay far below it.

They are leader epochs of __transaction_state. A partition that took a marker of ours takes none of a coordinator's.
"""


@dataclass(frozen=True, slots=True)
class MarkerWriter:
    """Who writes markers. An older coordinator epoch than the partition has seen is refused (error 52)."""

    producer_id: int
    producer_epoch: int
    coordinator_epoch: int


def encode_markers(version: int, counts: Mapping[Place, int], writer: MarkerWriter) -> bytes:
    """The body of a request that appends `counts` commit markers to each partition."""
    out = [encode_unsigned(max(counts.values()) + 1)]
    written = 0
    for level in sorted(set(counts.values())):
        places = [place for place, count in counts.items() if count >= level]
        out.append(_entry(version, places, writer) * (level - written))
        written = level
    out.append(b"\0")
    return b"".join(out)


def _entry(version: int, places: list[Place], writer: MarkerWriter) -> bytes:
    topics: dict[str, list[int]] = {}
    for topic, partition in places:
        topics.setdefault(topic, []).append(partition)
    out = [
        _ENTRY.pack(writer.producer_id, writer.producer_epoch, _COMMIT),
        encode_unsigned(len(topics) + 1),
    ]
    for name, partitions in topics.items():
        out += [encode_unsigned(len(name) + 1), name.encode(), encode_unsigned(len(partitions) + 1)]
        out += [struct.pack(f">{len(partitions)}i", *partitions), b"\0"]
    out.append(struct.pack(">i", writer.coordinator_epoch))
    out.append(b"\0\0" if version >= 2 else b"\0")  # transaction version 0: the rules of a classic marker
    return b"".join(out)


def decode_markers(frame: memoryview) -> dict[Place, int]:
    """The error of each partition. All entries of one producer id share one result: the log end tells how many landed.

    Raises ProtocolError.
    """
    errors: dict[Place, int] = {}
    try:
        position = skip_tags(frame, 4)
        entries, position = read_unsigned(frame, position)
        for _ in range(entries - 1):
            topics, position = read_unsigned(frame, position + 8)
            for _ in range(topics - 1):
                size, position = read_unsigned(frame, position)
                name, position = bytes(frame[position : position + size - 1]).decode(), position + size - 1
                partitions, position = read_unsigned(frame, position)
                for _ in range(partitions - 1):
                    index, error = _ERROR.unpack_from(frame, position)
                    errors[name, index] = error or errors.get((name, index), 0)
                    position = skip_tags(frame, position + _ERROR.size)
                position = skip_tags(frame, position)
            position = skip_tags(frame, position)
    except (struct.error, IndexError, ValueError) as e:
        raise ProtocolError(f"unreadable WriteTxnMarkers response: {e}") from e
    return errors
