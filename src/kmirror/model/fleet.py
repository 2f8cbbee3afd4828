"""Links and mirrors as a file wants them, and what has to change so that they are so (apply, export)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class WantedMirror:
    """`replication_factor` and `configs` (of the topic) count only when the mirror is made."""

    topic: str
    source_topic: str
    paused: bool = False
    replication_factor: int | None = None
    configs: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class WantedLink:
    name: str
    configs: Mapping[str, str]
    mirrors: Mapping[str, WantedMirror] = field(default_factory=dict)
    """By the name of the mirror topic."""


class Action(StrEnum):
    CREATE = "create"
    UPDATE = "update"
    PAUSE = "pause"
    RESUME = "resume"
    DELETE = "delete"
    UNCHANGED = "unchanged"
    REFUSED = "refused"
    """What there is can't become what is wanted, at least not by this command."""


@dataclass(frozen=True, slots=True)
class Change:
    """`topic` is "" for the link itself. `detail`: what changes, or why it is refused. `configs`: of an update."""

    action: Action
    link: str
    topic: str = ""
    detail: str = ""
    configs: Mapping[str, str | None] = field(default_factory=dict)
    """Key to value; None: back to the default."""
