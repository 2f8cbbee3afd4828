"""How Fetch and Produce name a topic: by its name, or by its id (KIP-516), and then the number of its partitions."""

from collections.abc import Iterable
from typing import Final

from kmirror.wire.varint import encode_unsigned, read_unsigned

_ID_BYTES: Final = 16

Place = tuple[str, int]
"""A topic and a partition."""


def encode_topic(name: str, topic_id: bytes, partitions: int, *, by_id: bool) -> bytes:
    text = name.encode()
    return (topic_id if by_id else encode_unsigned(len(text) + 1) + text) + encode_unsigned(partitions + 1)


def read_topic(view: memoryview, position: int, *, by_id: bool) -> tuple[str | bytes, int, int]:
    """(name or id, number of partitions, where the first begins); raises IndexError, ValueError for no name at all."""
    topic: str | bytes
    if by_id:
        topic, position = bytes(view[position : position + _ID_BYTES]), position + _ID_BYTES
    else:
        size, position = read_unsigned(view, position)
        if not size:
            raise ValueError("a topic without a name")
        topic, position = bytes(view[position : position + size - 1]).decode(), position + size - 1
    count, position = read_unsigned(view, position)
    return topic, count - 1, position


def by_topic(places: Iterable[Place]) -> dict[str, list[int]]:
    """The partitions of each topic, in their order."""
    topics: dict[str, list[int]] = {}
    for topic, partition in places:
        topics.setdefault(topic, []).append(partition)
    return topics
