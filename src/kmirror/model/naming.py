"""How mirrors are named: as their source topics, behind the prefix of the link if it has one."""

from typing import Final

_INTERNAL: Final = ("__", "_confluent")


class NamingError(ValueError):
    """A name that a mirror of this link may not have; `suggested` is the one that it may."""

    def __init__(self, message: str, suggested: str) -> None:
        super().__init__(message)
        self.suggested = suggested


def is_internal(topic: str) -> bool:
    """Belongs to its cluster alone: Kafka's own topics, and Confluent's."""
    return topic.startswith(_INTERNAL)


def source_of(prefix: str, topic: str, source_topic: str | None) -> str:
    """The source topic of the mirror `topic`, on a link with this prefix ("" for none); raises NamingError."""
    if source_topic is None:
        source_topic = topic.removeprefix(prefix)
        if not topic.startswith(prefix) or not source_topic:
            raise NamingError(f'"{topic}" does not begin with the prefix "{prefix}" of the link', prefix + topic)
    elif prefix and topic != prefix + source_topic:
        suggested = prefix + source_topic
        raise NamingError(f'the mirror of "{source_topic}" has to be named "{suggested}" on this link', suggested)
    return source_topic
