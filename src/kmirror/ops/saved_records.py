"""`kmirror records`: what truncate-and-restore has saved is looked at, and produced again."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from kmirror.admin.cluster import ClusterAdmin
from kmirror.admin.replay import Replayed, replay_records
from kmirror.errors import Conflict, NotFound
from kmirror.model.saved_records import SavedHeader, SavedRecord
from kmirror.model.states import MirrorState
from kmirror.state.links import LinkStore
from kmirror.state.paths import Home
from kmirror.state.records_file import RecordsFile
from kmirror.wire.reach import check_reachable

_OVER = frozenset({MirrorState.STOPPED, MirrorState.FAILED})


@dataclass(slots=True)
class Contents:
    """`spans` are the offsets of the first and the last record by partition, `counts` how many there are."""

    header: SavedHeader
    counts: dict[int, int] = field(default_factory=dict)
    spans: dict[int, tuple[int, int]] = field(default_factory=dict)

    @property
    def records(self) -> int:
        return sum(self.counts.values())


def read_contents(path: Path, watch: Callable[[SavedRecord], None] | None = None) -> Contents:
    """Reads the whole file; `watch` is given each record. Raises StateError that names a damaged line."""
    file = RecordsFile(path)
    found = Contents(file.header())

    def look(record: SavedRecord) -> None:
        number, offset = record.partition, record.offset
        low, high = found.spans.get(number, (offset, offset))
        found.counts[number] = found.counts.get(number, 0) + 1
        found.spans[number] = (min(low, offset), max(high, offset))
        if watch:
            watch(record)

    file.check(look)
    return found


def check_replay(home: Home, path: Path, bootstrap: str, topic: str | None) -> tuple[Contents, str]:
    """The file's contents and the topic that takes them; changes nothing.

    Raises StateError for a damaged file, Unreachable, NotFound where there is no such topic (it is never made), and
    Conflict where it is a mirror, or has not the partitions.
    """
    contents = read_contents(path)
    name = topic or contents.header.topic
    check_reachable(bootstrap, "destination")
    cluster = ClusterAdmin(bootstrap, "destination")
    found = cluster.find_topic(name)
    if found is None:
        raise NotFound(
            f'topic "{name}" not found on the cluster at {bootstrap}', hint="Create it, or name another with `--topic`."
        )
    cluster_id = cluster.cluster_id()
    for link in LinkStore(home).all().values():
        mirror = link.mirrors.get(name)
        if mirror and mirror.state not in _OVER and link.destination_cluster_id == cluster_id:
            raise Conflict(
                f'topic "{name}" is a mirror of link "{link.name}": nobody may write to it',
                hint=f'Give the cluster of its source, at "{link.source_bootstrap}".',
            )
    missing = [number for number in contents.counts if number >= found.partitions]
    if missing:
        raise Conflict(
            f'topic "{name}" has {found.partitions} partitions, and there are records of partition {max(missing)}',
            hint=f"Give it {max(missing) + 1} partitions.",
        )
    return contents, name


def replay(path: Path, bootstrap: str, topic: str, tell: Callable[[int], None]) -> Replayed:
    """Produces all records of the file, which was checked before."""
    return replay_records(bootstrap, topic, RecordsFile(path).records(), tell)
