"""A source's log, drawn at random, with the slow and obvious truth about each offset beside its bytes."""

import random
from dataclasses import dataclass, field

from hypothesis import strategies as st

from support.batches import LOG_APPEND_TIME, TRANSACTIONAL, Rec, batch, marker, message, message_set

RECORD, MARKER, ABORTED, HOLE = "record", "marker", "aborted", "hole"


@dataclass
class Entry:
    """One batch as stored: offsets base to last, and what it is good for."""

    base: int
    last: int
    data: bytes
    plain: bool = False
    """Dense, visible and of today's format: its bytes can go as they are."""


@dataclass
class SourceLog:
    """`slots[offset]` is what a reader sees there: (RECORD, value), or why there is nothing."""

    entries: list[Entry] = field(default_factory=list)
    slots: list[tuple[str, bytes | None]] = field(default_factory=list)
    aborted: list[tuple[int, int, int]] = field(default_factory=list)
    """(producer id, first offset, offset of the marker)."""

    @property
    def end(self) -> int:
        return len(self.slots)

    @property
    def data(self) -> bytes:
        return b"".join(entry.data for entry in self.entries)

    def fetch(self, position: int, size: int | None = None) -> tuple[bytearray, list[tuple[int, int]]]:
        """What a broker answers: from the batch that holds `position` on, `size` bytes but the first batch whole."""
        rest = [entry for entry in self.entries if entry.last >= position]
        data = b"".join(entry.data for entry in rest)
        if size is not None and rest:
            data = data[: max(size, len(rest[0].data))]
        return bytearray(data), [(pid, first) for pid, first, last in self.aborted if last >= position]


@st.composite
def source_logs(draw: st.DrawFn, most: int = 12) -> SourceLog:
    """Dense, compacted, emptied, compressed, re-timed, old and transactional batches, all transactions ended."""
    builder = _Builder()
    for _ in range(draw(st.integers(1, most))):
        kind = draw(st.sampled_from(["dense", "dense", "txn", "txn", "end", "holes", "emptied", "gap", "lat", "old"]))
        count = draw(st.integers(1, 5))
        builder.add(kind, count, draw(st.integers(0, 4)), draw(st.integers(1, 3)), draw(st.integers(0, 2**5 - 1)))
    builder.end_all(draw(st.booleans()))
    return builder.log


def seeded_log(seed: int, count: int) -> SourceLog:
    """A log of `count` parts, the same for the same seed: for brokers, where there is no time to shrink examples."""
    noise = random.Random(seed)
    builder = _Builder()
    for _ in range(count):
        kind = noise.choice(["dense", "txn", "txn", "end", "holes", "emptied", "gap", "lat", "old"])
        builder.add(kind, noise.randint(1, 9), noise.randint(0, 4), noise.randint(1, 3), noise.getrandbits(9))
    builder.end_all(noise.random() < 0.5)
    return builder.log


class _Builder:
    def __init__(self) -> None:
        self.log = SourceLog()
        self._open: dict[int, list[int]] = {}
        """Offsets of the records of each producer's open transaction."""

    def add(self, kind: str, count: int, codec: int, pid: int, mask: int) -> None:
        base = self.log.end
        records = [Rec(i, b"%d" % (base + i), b"k") for i in range(count)]
        kept = [r for r in records if mask >> r.delta & 1]
        if kind == "dense":
            self._put(base, batch(base, records, attributes=codec), records, count, plain=True)
        elif kind == "txn":
            data = batch(base, records, attributes=codec | TRANSACTIONAL, producer=(pid, 0, base))
            self._put(base, data, records, count, plain=True)
            self._open.setdefault(pid, []).extend(range(base, base + count))
        elif kind == "end" and pid in self._open:
            self._end(pid, commit=bool(mask & 1))
        elif kind in {"holes", "emptied"}:
            found = kept if kind == "holes" else []
            data = batch(base, found, attributes=codec if found else 0, last_delta=count - 1)
            self._put(base, data, found, count, plain=len(found) == count)
        elif kind == "gap":
            self.log.slots += [(HOLE, None)] * count
        elif kind == "lat":
            self._put(base, batch(base, records, attributes=codec | LOG_APPEND_TIME), records, count)
        elif kind == "old":
            magic = mask & 1
            if mask & 2:
                records = [Rec(i, b"old %d" % (base + i)) for i in range(count)]
                self._put(base, message_set(base, count, magic=magic), records, count)
            else:
                self._put(base, message(base, b"one", magic=magic), [Rec(0, b"one")], 1)

    def _put(self, base: int, data: bytes, records: list[Rec], count: int, *, plain: bool = False) -> None:
        self.log.entries.append(Entry(base, base + count - 1, data, plain))
        self.log.slots += [(HOLE, None)] * count
        for record in records:
            self.log.slots[base + record.delta] = (RECORD, record.value)

    def _end(self, pid: int, *, commit: bool) -> None:
        offsets = self._open.pop(pid)
        at = self.log.end
        self.log.entries.append(Entry(at, at, marker(at, pid, commit=commit)))
        self.log.slots.append((MARKER, None))
        if not commit:
            self.log.aborted.append((pid, offsets[0], at))
            for entry in self.log.entries:
                if entry.base in offsets:
                    entry.plain = False
            for offset in offsets:
                self.log.slots[offset] = (ABORTED, None)

    def end_all(self, commit: bool) -> None:
        for pid in list(self._open):
            self._end(pid, commit=commit)
