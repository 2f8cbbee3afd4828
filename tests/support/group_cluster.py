"""A cluster that is made up, for what is decided of consumer groups: no broker, no time."""

import threading
from collections.abc import Collection, Mapping

from kmirror.errors import AuthorizationFailed, ClusterError, KmirrorError
from kmirror.model.group_offsets import IN_USE, Committed, LogBounds, PerGroup, Place
from kmirror.model.rights import Need


class GroupCluster:
    """Groups and logs as a cluster would tell of them; `asked` and `commits` say what was done to it."""

    def __init__(self, ends: Mapping[Place, int] | None = None) -> None:
        self.offsets: dict[str, dict[Place, Committed]] = {}
        self.members: set[str] = set()
        self.joining: set[str] = set()
        self.denied: set[str] = set()
        self.ends = dict(ends or {})
        self.asked: list[str] = []
        self.commits = 0
        self.looks = 0
        self.error: Exception | None = None
        self.gate: threading.Event | None = None

    def put(self, group: str, place: Place, offset: int, metadata: str = "") -> None:
        self.offsets.setdefault(group, {})[place] = Committed(offset, metadata)

    def at(self, group: str, place: Place = ("orders", 0)) -> int | None:
        found = self.offsets.get(group, {}).get(place)
        return found.offset if found else None

    def groups(self) -> dict[str, bool]:
        self.looks += 1
        if self.error:
            raise self.error
        if self.gate:
            self.gate.wait(20)
        return {group: group in self.members for group in self.offsets.keys() | self.members}

    def hidden(self, need: Need) -> KmirrorError | None:
        return AuthorizationFailed(f"denied {need.name}") if need.name in self.denied else None

    def committed(self, groups: Collection[str]) -> PerGroup[dict[Place, Committed]]:
        self.asked += groups
        out: PerGroup[dict[Place, Committed]] = PerGroup()
        for group in groups:
            if group in self.denied:
                out.refused[group] = ClusterError("denied", code="AUTHORIZATION_ERROR")
            else:
                out.found[group] = dict(self.offsets.get(group, {}))
        return out

    def commit(self, offsets: Mapping[str, Mapping[Place, Committed]]) -> PerGroup[None]:
        out: PerGroup[None] = PerGroup()
        for group, found in offsets.items():
            if group in self.members | self.joining:
                out.refused[group] = ClusterError("has members", code=IN_USE)
                continue
            self.commits += len(found)
            self.offsets.setdefault(group, {}).update(found)
            out.found[group] = None
        return out

    def log_bounds(self, places: Collection[Place]) -> dict[Place, LogBounds]:
        return {place: LogBounds(0, self.ends[place]) for place in places if place in self.ends}
