"""The comparison under Hypothesis: for any log, any batch bounds and any alteration it says what the model says."""

from dataclasses import dataclass

from hypothesis import assume, given
from hypothesis import strategies as st

from kmirror.engine.compare import Comparison, pieces
from kmirror.engine.translate import translate
from kmirror.model.compaction import Compaction
from kmirror.model.verification import Difference, Level, Shown, What
from kmirror.wire.batch import decode, header
from support.batches import Rec, batch, dense, marker
from support.source_log import RECORD, Entry, SourceLog, source_logs


@dataclass
class Feed:
    """What a broker holds, handed out `size` bytes at a time, the first batch whole."""

    log: SourceLog
    size: int
    position: int = 0

    def into(self, comparison_side, end: int) -> None:
        data, aborted = self.log.fetch(self.position, self.size)
        steps = list(translate(memoryview(data), self.position, aborted))
        self.position = steps[-1].base + steps[-1].count if steps else end
        comparison_side.add(pieces(steps, "log"), self.position)


def compare(source: SourceLog, mirror: SourceLog, span: range, sizes: tuple[int, int] = (1, 1)) -> list[Difference]:
    found: list[Difference] = []
    comparison = Comparison(0, span, found.append)
    left, right = Feed(source, sizes[0], span.start), Feed(mirror, sizes[1], span.start)
    while comparison.position < span.stop:
        if comparison.source.known <= comparison.destination.known:
            left.into(comparison.source, span.stop)
        if comparison.destination.known < comparison.source.known:
            right.into(comparison.destination, span.stop)
        comparison.advance()
    return found


def copied(log: SourceLog, cuts: list[int], change: dict[int, bytes | None]) -> SourceLog:
    """An exact mirror of `log` with other batch bounds; `change` alters values, None takes the record out."""
    out = SourceLog()
    run: list[Rec] = []
    base = 0

    def flush() -> None:
        if run:
            out.entries.append(_entry(base, batch(base, run)))
            run.clear()

    timestamps = _timestamps(log)
    for offset, (kind, value) in enumerate(log.slots):
        altered = change.get(offset, value) if kind == RECORD else change.get(offset)
        if kind == RECORD and offset in change and altered is None:
            kind = "gone"  # noqa: PLW2901
        if kind == RECORD or (offset in change and altered is not None):
            if not run:
                base = offset
            key = None if kind != RECORD else timestamps[offset][1]
            run.append(Rec(offset - base, altered, key, timestamps.get(offset, (5, None))[0]))
            if offset in cuts:
                flush()
            continue
        flush()
        out.entries.append(_entry(offset, marker(offset, 9, commit=True)))
    flush()
    out.slots = list(log.slots)
    return out


def _entry(base: int, data: bytes) -> Entry:
    return Entry(base, header(memoryview(data)).last_offset, data)


def _timestamps(log: SourceLog) -> dict[int, tuple[int, bytes | None]]:
    """By offset the timestamp and key, by kafka-python: the other way to read a batch."""
    return {r.offset: (r.timestamp, r.key) for entry in log.entries for r in decode(memoryview(entry.data))}


@given(source_logs(), st.data())
def test_an_exact_mirror_is_the_same_whatever_its_batches(log: SourceLog, data: st.DataObject) -> None:
    cuts = data.draw(st.lists(st.integers(0, log.end)))
    sizes = data.draw(st.tuples(st.integers(1, 900), st.integers(1, 900)))
    span = range(data.draw(st.integers(0, log.end)), log.end)
    assert compare(log, copied(log, cuts, {}), span, sizes) == []
    assert compare(log, log, span, sizes) == []


@given(source_logs(), st.data())
def test_each_altered_offset_is_found_and_no_other(log: SourceLog, data: st.DataObject) -> None:
    assume(log.end)
    offsets = st.integers(0, log.end - 1)
    change = data.draw(st.dictionaries(offsets, st.sampled_from([b"changed", None]), max_size=4))
    cuts = data.draw(st.lists(offsets))
    sizes = data.draw(st.tuples(st.integers(1, 900), st.integers(1, 900)))
    start = data.draw(offsets)
    expected = []
    for offset, value in sorted(change.items()):
        holds = log.slots[offset][0] == RECORD
        if offset < start or (not holds and value is None):
            continue
        what = What.VALUE if holds and value else What.MISSING if holds else What.EXTRA
        expected.append((offset, (what,), Level.BOTH))
    found = compare(log, copied(log, cuts, change), range(start, log.end), sizes)
    assert [(d.offset, d.what, d.level) for d in found] == expected


def _one(data: bytes, end: int, other: bytes) -> list[Difference]:
    found: list[Difference] = []
    comparison = Comparison(0, range(end), found.append)
    for side, log in ((comparison.source, data), (comparison.destination, other)):
        side.add(pieces(translate(memoryview(bytearray(log)), 0), "log"), end)
    comparison.advance()
    assert comparison.position == end
    return found


def test_parts_are_told_apart() -> None:
    before = [Rec(0, b"v", b"k", 7, (("h", b"1"),)), Rec(1)]
    for after, what in (
        (Rec(0, b"v", b"x", 7, (("h", b"1"),)), What.KEY),
        (Rec(0, None, b"k", 7, (("h", b"1"),)), What.VALUE),
        (Rec(0, b"v", b"k", 7, (("h", None),)), What.HEADERS),
        (Rec(0, b"v", b"k", 8, (("h", b"1"),)), What.TIMESTAMP),
    ):
        (difference,) = _one(batch(0, before), 2, batch(0, [after, Rec(1)]))
        assert (difference.offset, difference.what) == (0, (what,))
        assert isinstance(difference.source, Shown)


def test_the_same_bytes_at_another_time_are_a_difference() -> None:
    """Records hold what they are later than the batch: its header makes them a time."""
    early, late = [Rec(0, at=5), Rec(1, at=9)], [Rec(0, at=6), Rec(1, at=10)]
    found = _one(batch(0, early, max_timestamp=10), 2, batch(0, late, max_timestamp=10))
    assert [(d.offset, d.what) for d in found] == [(0, (What.TIMESTAMP,)), (1, (What.TIMESTAMP,))]


def test_the_same_batch_is_a_difference_where_it_is_not_committed() -> None:
    found: list[Difference] = []
    comparison = Comparison(0, range(1), found.append)
    alike = list(pieces(translate(memoryview(bytearray(dense(0, 1))), 0), "log"))
    comparison.source.add(alike, 1)
    comparison.destination.add([piece._replace(committed=False) for piece in alike], 1)
    comparison.advance()
    assert [(d.offset, d.what, d.level) for d in found] == [(0, (What.MISSING,), Level.COMMITTED)]


def test_only_what_is_known_is_compared() -> None:
    found: list[Difference] = []
    comparison = Comparison(0, range(6), found.append)
    comparison.source.add(pieces(translate(memoryview(bytearray(dense(0, 6))), 0), "log"), 6)
    comparison.destination.add(pieces(translate(memoryview(bytearray(dense(0, 3))), 0), "log"), 3)
    comparison.advance()
    assert (comparison.position, found) == (3, [])
    comparison.destination.add((), 6)
    comparison.advance()
    assert [d.offset for d in found] == [3, 4, 5]


def test_an_uncommitted_record_is_missing_for_those_who_wait_for_the_commit() -> None:
    found: list[Difference] = []
    comparison = Comparison(0, range(2), found.append)
    comparison.source.add(pieces(translate(memoryview(bytearray(dense(0, 1))), 0), "log"), 2)
    hidden = [p._replace(committed=False) for p in pieces(translate(memoryview(bytearray(dense(0, 2))), 0), "log")]
    comparison.destination.add(hidden, 2)
    comparison.advance()
    assert [(d.offset, d.what, d.level) for d in found] == [
        (0, (What.MISSING,), Level.COMMITTED),
        (1, (What.EXTRA,), Level.UNCOMMITTED),
    ]


def test_compaction_explains_by_a_later_record_of_the_key_alone() -> None:
    found: list[Difference] = []
    compaction = Compaction(found.append)
    for offset, key, value in ((0, b"a", b"1"), (1, b"b", b"1"), (2, b"t", None), (3, None, b"1")):
        compaction.add(Difference(0, offset, (What.MISSING,), source=Shown(key, value, (), 0)))
    compaction.add(Difference(0, 4, (What.VALUE,), source=Shown(b"a", b"1", (), 0)))
    assert [d.offset for d in found] == [3, 4]
    compaction.seen(b"a")
    compaction.finish(whole=True)
    assert [d.offset for d in found] == [3, 4, 1]
    assert compaction.removed == 2
