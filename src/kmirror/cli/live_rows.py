"""What the live view shows, as plain values: (link, status, what was seen before) -> rows and notes. No terminal here.

`Link` is what is recorded, `LinkStatus` what a runner last saw. A rate of one partition is in neither: `History` keeps
the last readings and takes it from how far the log end went.
"""

from collections import defaultdict, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from kmirror.cli.live_text import ranges, since, throttles
from kmirror.model.link import Link
from kmirror.model.mirror import Mirror, MirrorError
from kmirror.model.states import LIVE, MirrorState
from kmirror.model.status import LinkStatus, MirrorStatus, PartitionState, PartitionStatus, Trouble

KEPT: Final = 60
"""Readings kept of each mirror and partition: a minute at one status a second."""
_RATE_WINDOW_MS: Final = 3000  # long enough not to flicker, short enough to follow
_STALE_MS: Final = 5000  # the runner writes each second; later than this is worth saying
_TROUBLED: Final = frozenset(
    {PartitionState.FAILED, PartitionState.SOURCE_UNAVAILABLE, PartitionState.DESTINATION_UNAVAILABLE}
)


@dataclass(frozen=True, slots=True)
class PartitionRow:
    partition: int
    state: PartitionState | None
    source_end: int | None
    log_end: int | None
    lag: int | None
    lag_ms: int | None
    records_per_s: float | None


@dataclass(frozen=True, slots=True)
class MirrorRow:
    """`lag` is the sum over the partitions, `lag_ms` the worst of them."""

    topic: str
    state: MirrorState
    partitions: int
    lag: int | None
    lag_ms: int | None
    records_per_s: float | None
    bytes_per_s: float | None
    rates: tuple[float, ...] = ()
    lags: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Note:
    """Something that is wrong: where and what, why, and since when."""

    subject: str
    message: str
    since_ms: int | None = None

    def text(self, now_ms: int) -> str:
        lasted = "" if self.since_ms is None else f" for {since(now_ms - self.since_ms)}"
        return f"{self.subject}{lasted}: {self.message}"


@dataclass(slots=True)
class History:
    """The last readings. `add` takes each status once, however often the view asks."""

    updated_ms: int = 0
    rates: dict[str, deque[float]] = field(default_factory=lambda: defaultdict(lambda: deque(maxlen=KEPT)))
    lags: dict[str, deque[float]] = field(default_factory=lambda: defaultdict(lambda: deque(maxlen=KEPT)))
    log_ends: dict[tuple[str, int], deque[tuple[int, int]]] = field(
        default_factory=lambda: defaultdict(lambda: deque(maxlen=KEPT))
    )

    def add(self, status: LinkStatus | None) -> None:
        if status is None or status.updated_ms <= self.updated_ms:
            return
        self.updated_ms = status.updated_ms
        for topic, mirror in status.mirrors.items():
            self.rates[topic].append(mirror.records_per_s)
            self.lags[topic].append(_sum(p.lag for p in mirror.partitions) or 0)
            for p in mirror.partitions:
                if p.log_end is not None:
                    self.log_ends[topic, p.partition].append((status.updated_ms, p.log_end))

    def partition_rate(self, topic: str, partition: int) -> float | None:
        """Offsets a second over the last few seconds; None before there are two readings."""
        readings = self.log_ends.get((topic, partition))
        if not readings or len(readings) < 2:
            return None
        now, end = readings[-1]
        earlier = [r for r in readings if now - r[0] <= _RATE_WINDOW_MS]
        at, start = earlier[0] if len(earlier) > 1 else readings[-2]
        return max(0, end - start) * 1000 / (now - at)


def shown_state(mirror: Mirror, seen: MirrorStatus | None) -> MirrorState:
    """What the runner sees is at most a second old, so it may not hide what was decided since: a pause, a failure."""
    return seen.state if seen and mirror.state in LIVE else mirror.state


def mirror_rows(link: Link, status: LinkStatus | None, history: History) -> list[MirrorRow]:
    return [_mirror_row(link.mirrors[topic], _seen(status, topic), history) for topic in sorted(link.mirrors)]


def _mirror_row(mirror: Mirror, seen: MirrorStatus | None, history: History) -> MirrorRow:
    parts = seen.partitions if seen else ()
    return MirrorRow(
        topic=mirror.topic,
        state=shown_state(mirror, seen),
        partitions=mirror.partitions,
        lag=_sum(p.lag for p in parts),
        lag_ms=max((p.lag_ms for p in parts if p.lag_ms is not None), default=None),
        records_per_s=seen.records_per_s if seen else None,
        bytes_per_s=seen.bytes_per_s if seen else None,
        rates=tuple(history.rates.get(mirror.topic, ())),
        lags=tuple(history.lags.get(mirror.topic, ())),
    )


def partition_rows(mirror: Mirror, status: LinkStatus | None, history: History) -> list[PartitionRow]:
    """One row a partition, also for those of which no runner has told yet."""
    seen = _seen(status, mirror.topic)
    known = {p.partition: p for p in seen.partitions} if seen else {}
    numbers = sorted(known.keys() | range(mirror.partitions))
    return [_partition_row(number, known.get(number), mirror.topic, history) for number in numbers]


def _partition_row(number: int, seen: PartitionStatus | None, topic: str, history: History) -> PartitionRow:
    if seen is None:
        return PartitionRow(number, None, None, None, None, None, None)
    rate = history.partition_rate(topic, number)
    return PartitionRow(number, seen.state, seen.source_end, seen.log_end, seen.lag, seen.lag_ms, rate)


def worst(rows: Sequence[PartitionRow], room: int) -> list[PartitionRow]:
    """The rows for which there is room, in order: those in trouble first, then those that are furthest behind."""
    ranked = sorted(rows, key=lambda r: (r.state not in _TROUBLED, -(r.lag or 0), r.partition))
    return sorted(ranked[: max(1, room)], key=lambda r: r.partition)


def worst_mirrors(rows: Sequence[MirrorRow], room: int) -> list[MirrorRow]:
    """As `worst`."""
    well = {MirrorState.ACTIVE, MirrorState.PAUSED, MirrorState.STOPPED}
    ranked = sorted(rows, key=lambda r: (r.state in well, -(r.lag or 0), r.topic))
    return sorted(ranked[: max(1, room)], key=lambda r: r.topic)


def notes(mirror: Mirror, status: LinkStatus | None) -> list[Note]:
    """What is wrong with this mirror: partitions of one cause share a note."""
    found = [] if mirror.error is None else [_failure(mirror.topic, mirror.error)]
    seen = _seen(status, mirror.topic)
    together: dict[tuple[str, str], list[tuple[int, Trouble]]] = defaultdict(list)
    for p in seen.partitions if seen else ():
        if p.error and mirror.error is None:
            found.append(_failure(mirror.topic, p.error))
        if p.trouble:
            together[p.state, p.trouble.message].append((p.partition, p.trouble))
    for (state, message), members in together.items():
        word = "partition" if len(members) == 1 else "partitions"
        subject = f"{mirror.topic} {word} {ranges([partition for partition, _ in members])}"
        found.append(Note(f"{subject}: {state}", message, min(trouble.since_ms for _, trouble in members)))
    return found


def link_notes(link: Link, status: LinkStatus | None, now_ms: int) -> list[Note]:
    """What is wrong with the link as a whole."""
    if status is None:
        idle = not any(mirror.state in LIVE for mirror in link.mirrors.values())
        return [] if idle else [Note("no runner copies", f"start one with `kmirror link start {link.name}`")]
    found = []
    if status.trouble:
        found.append(Note(f"link {link.name}: {status.state}", status.trouble.message, status.trouble.since_ms))
    if status.throttled:
        found.append(Note(f"link {link.name} is throttled", f"by {throttles(status.throttled)}"))
    if now_ms - status.updated_ms > _STALE_MS:
        found.append(Note("no word from the runner", f"process {status.pid}", status.updated_ms))
    return found


def _failure(topic: str, error: MirrorError) -> Note:
    place = topic
    if error.partition is not None:
        place += f" partition {error.partition}"
    if error.offset is not None:
        place += f" offset {error.offset}"
    return Note(f"{place}: {error.code}", error.message)


def _seen(status: LinkStatus | None, topic: str) -> MirrorStatus | None:
    return status.mirrors.get(topic) if status else None


def _sum(lags: Iterable[int | None]) -> int | None:
    """None as long as one of them is not known: half a lag would look like good news."""
    found = list(lags)
    return sum(lag for lag in found if lag is not None) if found and None not in found else None
