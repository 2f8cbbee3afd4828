"""What a contender is given, and what it answers."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bench.stage import Stage


@dataclass(frozen=True, slots=True)
class Job:
    """Copy `topic` of the source to the same name at the destination, where it does not exist yet.

    `directory` is new and the contender's own. `eager`: for latency, not for throughput. `sources`: kmirror's, where
    they are others than these. `workers`: of kmirror.
    """

    stage: Stage
    topic: str
    partitions: int
    compression: str
    directory: Path
    eager: bool = False
    profile: str | None = None
    sources: Path | None = None
    workers: int = 1


@dataclass(frozen=True, slots=True)
class Command:
    """`environment` is added to that of this process."""

    arguments: list[str]
    environment: Mapping[str, str] = field(default_factory=dict)
