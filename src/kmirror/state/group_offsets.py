"""groups.json: what ConsumerOffsetSync committed at the destination. One of the runtime files: it may be deleted.

Without it the source's offsets are taken as they are, also for a group that was moved at the destination meanwhile.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from kmirror.model.group_offsets import Committed, GroupOffsets, Place, Synced
from kmirror.state.atomic import write_atomic
from kmirror.state.runtime import RunFiles

_NAME = "groups.json"


@dataclass(frozen=True, slots=True)
class KnownGroups:
    """`at_ms`: when the last round ended, in ms since the epoch; None: there was none."""

    offsets: GroupOffsets = field(default_factory=dict)
    at_ms: int | None = None


def read_groups(files: RunFiles) -> KnownGroups:
    """What is remembered; nothing where the file is missing or damaged."""
    try:
        data = json.loads((files.directory / _NAME).read_bytes())
        groups = {group: dict(_places(topics)) for group, topics in data["groups"].items()}
        return KnownGroups(groups, int(data["at_ms"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return KnownGroups()


def write_groups(files: RunFiles, known: KnownGroups) -> None:
    """Replaces the file; raises OSError."""
    files.create()
    groups = {group: _table(places) for group, places in known.offsets.items()}
    data = json.dumps({"at_ms": known.at_ms, "groups": groups}, separators=(",", ":"))
    write_atomic(files.directory / _NAME, data.encode(), durable=False)


def _places(topics: Mapping[str, Any]) -> list[tuple[Place, Synced]]:
    return [
        ((topic, partition), Synced(Committed(source, metadata), offset, synced_ms))
        for topic, rows in topics.items()
        for partition, source, offset, synced_ms, metadata in rows
    ]


def _table(places: Mapping[Place, Synced]) -> dict[str, list[list[int | str]]]:
    """Short rows: there may be a hundred thousand."""
    table: dict[str, list[list[int | str]]] = {}
    for (topic, partition), found in sorted(places.items()):
        row: list[int | str] = [partition, found.source.offset, found.offset, found.synced_ms, found.source.metadata]
        table.setdefault(topic, []).append(row)
    return table
