"""The rights of a link: the commands that grant them, and which of them its principals have."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from kmirror.admin.checkup import cluster_rights, group_rights, topic_rights
from kmirror.admin.cluster import ClusterAdmin
from kmirror.model.access import Access, access_of
from kmirror.model.link import DESTINATION_PREFIX, GapFill, Link
from kmirror.model.rights import (
    ANY,
    DESTINATION,
    GUARD,
    SOURCE,
    Need,
    Right,
    grant_commands,
    grant_line,
    granting_of,
    needed_rights,
)
from kmirror.model.states import MirrorState
from kmirror.ops.link_create import link_configs
from kmirror.state.links import LinkStore
from kmirror.state.paths import Home
from kmirror.wire.probe import probe_gap_fill
from kmirror.wire.reach import check_reachable

_OVER = frozenset({MirrorState.STOPPED, MirrorState.FAILED})
_PROBED_GROUP = "kmirror-probe"

GRANTED = "granted"
MISSING = "missing"
UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class RightRow:
    """`state` is granted, missing or unknown (it can't be asked); `grant` is the command where it is missing."""

    link_name: str
    side: str
    resource: str
    name: str
    operation: str
    state: str
    needed_for: str
    without: str
    grant: str = ""


def printed_acls(
    name: str, source: str | None, destination: str | None, config: Sequence[str], keys: Mapping[str, tuple[str, str]]
) -> list[str]:
    """What grants a link to be all that it needs, by side; asks nobody. Raises UsageError."""
    configs = link_configs(source, destination, config, keys)
    mode = configs.get("gap.fill.mode")
    gap_fill = GapFill.TRANSACTIONS if mode == "transactions" else GapFill.MARKERS
    lines = []
    for side in (SOURCE, DESTINATION):
        rights = [right for right in needed_rights(configs, gap_fill) if right.side == side]
        access = access_of(configs, "" if side == SOURCE else DESTINATION_PREFIX)
        lines.append(f"# at the {side}")
        lines += grant_commands(rights, granting_of(access, {"TRANSACTIONAL_ID": [f"kmirror.{name}."]}))
    if more := [right for right in needed_rights(configs, gap_fill, guard=True) if right.when == GUARD]:
        lines.append(f"# at the {DESTINATION}, for `{GUARD}`")
        lines += grant_commands(more, granting_of(access_of(configs, DESTINATION_PREFIX), {}))
    return lines


def look_at_rights(home: Home, name: str) -> list[RightRow]:
    """Each right on each thing that the link works with. Raises NotFound, ClusterError where nobody can be asked."""
    link = LinkStore(home).get(name)
    rows: list[RightRow] = []
    for side, access in ((SOURCE, link.source), (DESTINATION, link.destination)):
        check_reachable(access, side)
        rights = needed_rights(link.configs, link.gap_fill, guard=bool(link.guards))
        wanted = [right for right in rights if right.side == side]
        rows += _Looked(link, side, access).rows(wanted)
    return rows


class _Looked:
    """What one cluster tells its principal of its own rights."""

    def __init__(self, link: Link, side: str, access: Access) -> None:
        self._link = link
        self._side = side
        self._access = access
        self._admin = ClusterAdmin(access, side)

    def rows(self, wanted: Sequence[Right]) -> Iterator[RightRow]:
        held = self._held(frozenset(right.resource for right in wanted))
        for right in wanted:
            for name, operations in held[right.resource].items():
                yield self._row(right, name, _state(right, operations))

    def _row(self, right: Right, name: str, state: str) -> RightRow:
        grant = grant_line(self._access, Need(right.resource, right.operation, name)) if state == MISSING else ""
        shown = "" if right.resource == "CLUSTER" else name
        return RightRow(
            self._link.name,
            right.side,
            right.resource,
            shown,
            right.operation,
            state,
            right.needed_for,
            right.without,
            grant,
        )

    def _held(self, resources: frozenset[str]) -> dict[str, Mapping[str, frozenset[str] | None]]:
        """By resource and name the operations that are granted; None where they are not told."""
        live = [mirror for mirror in self._link.mirrors.values() if mirror.state not in _OVER]
        topics = sorted({m.source_topic if self._side == SOURCE else m.topic for m in live})
        held: dict[str, Mapping[str, frozenset[str] | None]] = {
            "TOPIC": topic_rights(self._admin, topics) if topics else {ANY: None},
            # Who may not describe the cluster is told nothing, which the library gives as None.
            "CLUSTER": {"": cluster_rights(self._admin) or frozenset()},
        }
        if "GROUP" in resources:
            held["GROUP"] = {ANY: group_rights(self._admin, _PROBED_GROUP)}
        if "TRANSACTIONAL_ID" in resources:
            ways = probe_gap_fill(self._access, self._link.transactional_id)
            granted = frozenset({"WRITE"}) if GapFill.TRANSACTIONS in ways else frozenset[str]()
            held["TRANSACTIONAL_ID"] = {f"kmirror.{self._link.name}.": granted}
        held["TOPIC"] = {name: _with_create(rights, held["CLUSTER"][""]) for name, rights in held["TOPIC"].items()}
        return held


def _state(right: Right, held: frozenset[str] | None) -> str:
    if held is None:
        return UNKNOWN
    return GRANTED if right.operation in held else MISSING


def _with_create(rights: frozenset[str] | None, at_cluster: frozenset[str] | None) -> frozenset[str] | None:
    """CREATE on the cluster is CREATE on every topic."""
    return rights if rights is None or at_cluster is None else rights | (at_cluster & {"CREATE"})
