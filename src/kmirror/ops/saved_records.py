"""`kmirror records`: what truncate-and-restore has saved is looked at, and produced again."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from kmirror.admin.cluster import ClusterAdmin
from kmirror.admin.replay import Replayed, replay_records
from kmirror.errors import Conflict, NotFound, UsageError
from kmirror.model.access import Access, access_of
from kmirror.model.saved_records import SavedHeader, SavedRecord
from kmirror.model.security import KEYS, parse_security
from kmirror.model.setting import SettingError
from kmirror.model.settings import check_setting
from kmirror.model.states import MirrorState
from kmirror.ops.link_create import kept_of
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


def client_access(bootstrap: str, config: Sequence[str]) -> Access:
    """How a cluster is reached that is no link's; `config` as that of a link, of security alone. Raises UsageError."""
    configs = kept_of(config)
    for key, value in configs.items():
        if key not in KEYS:
            raise UsageError(f'configuration "{key}" says nothing of how a cluster is reached', hint="Leave it out.")
        try:
            check_setting(key, value)
        except SettingError as e:
            raise UsageError(str(e), hint=e.hint) from e
    try:
        parse_security(configs)
    except SettingError as e:
        raise UsageError(str(e), hint=e.hint) from e
    return access_of({**configs, "bootstrap.servers": bootstrap})


def check_replay(home: Home, path: Path, access: Access, topic: str | None) -> tuple[Contents, str]:
    """The file's contents and the topic that takes them; changes nothing.

    Raises StateError for a damaged file, Unreachable, NotFound where there is no such topic (it is never made), and
    Conflict where it is a mirror, or has not the partitions.
    """
    contents = read_contents(path)
    name = topic or contents.header.topic
    check_reachable(access, "destination")
    cluster = ClusterAdmin(access, "destination")
    found = cluster.find_topic(name)
    if found is None:
        raise NotFound(
            f'topic "{name}" not found on the cluster at {access}', hint="Create it, or name another with `--topic`."
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


def replay(path: Path, access: Access, topic: str, tell: Callable[[int], None]) -> Replayed:
    """Produces all records of the file, which was checked before."""
    return replay_records(access, topic, RecordsFile(path).records(), tell)
