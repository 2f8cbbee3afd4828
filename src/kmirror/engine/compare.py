"""The comparison of one partition with its mirror: two streams of batches in, differences out. Pure, no I/O.

Batches that are alike are compared as bytes. Only where they are not (a run that was written anew, other bounds, or
a real difference) are they taken apart, record by record, and only what differs then is decoded.
"""

from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from operator import attrgetter
from typing import Final, NamedTuple

from kmirror.engine.steps import Append, Reencode, Step, Stop
from kmirror.errors import ClusterError
from kmirror.model.compaction import Compaction
from kmirror.model.verification import Difference, Level, Shown, What, parts_that_differ
from kmirror.wire import batch as wire
from kmirror.wire.records import RawRecord, read_body, records_of

_OFFSET: Final = attrgetter("offset")


class Piece(NamedTuple):
    """A batch of which the offsets from `base` to before `end` count.

    `committed` False: a read_committed consumer does not see it.
    """

    base: int
    end: int
    batch: memoryview
    committed: bool = True


def pieces(steps: Iterable[Step], side: str) -> Iterator[Piece]:
    """What these steps show; raises ClusterError where the log can't be read, `side` says whose."""
    for step in steps:
        if isinstance(step, Stop):
            raise ClusterError(f"the {side}'s log can't be read at offset {step.base}: {step.message}")
        if isinstance(step, Append | Reencode):
            yield Piece(step.base, step.base + step.count, step.batch)


class View:
    """What one side shows, as far as it is known: every offset below `known`."""

    def __init__(self, span: range) -> None:
        self.known = span.start
        self._stop = span.stop
        self._pieces: deque[Piece] = deque()
        self._records: list[RawRecord] | None = None  # of the first piece, once it is taken apart
        self._taken = 0  # of these

    def add(self, found: Iterable[Piece], known: int) -> None:
        """The next pieces, which tell all there is below offset `known`."""
        for piece in found:
            if piece.base < self._stop:
                self._pieces.append(piece._replace(end=min(piece.end, self._stop)))
        self.known = min(max(known, self.known), self._stop)

    @property
    def first(self) -> Piece | None:
        return self._pieces[0] if self._pieces else None

    def drop_first(self) -> None:
        self._pieces.popleft()
        self._records = None
        self._taken = 0

    def take(self, upto: int) -> tuple[list[RawRecord], set[int]]:
        """The records below offset `upto`, and the offsets of those that are not committed."""
        out: list[RawRecord] = []
        hidden: set[int] = set()
        while self._pieces and self._pieces[0].base < upto:
            piece = self._pieces[0]
            if self._records is None:
                self._records = [r for r in records_of(piece.batch) if piece.base <= r.offset < piece.end]
            behind = bisect_left(self._records, upto, self._taken, key=_OFFSET)
            found = self._records[self._taken : behind]
            self._taken = behind
            out += found
            if not piece.committed:
                hidden.update(record.offset for record in found)
            if piece.end > upto:
                self._pieces[0] = piece._replace(base=upto)
                break
            self.drop_first()
        return out, hidden


class Comparison:
    """Compares the offsets of `span`; `found` is called with each difference, in the order of offsets."""

    def __init__(
        self,
        partition: int,
        span: range,
        found: Callable[[Difference], None],
        compaction: Compaction | None = None,
    ) -> None:
        self.span = span
        self.source = View(span)
        self.destination = View(span)
        self.position = span.start
        self.records = 0
        """Records of the source that were looked at."""
        self.size = 0
        """Bytes of the source's batches that were looked at."""
        self._partition = partition
        self._found = found if compaction is None else compaction.add
        self._compaction = compaction

    def advance(self) -> None:
        """Compares as far as both sides are known. Raises ValueError for batches that can't be read."""
        upto = min(self.source.known, self.destination.known)
        while self.position < upto:
            theirs, ours = self.source.first, self.destination.first
            if theirs is not None and ours is not None and theirs.end <= upto and _alike(theirs, ours):
                self.records += theirs.end - theirs.base
                self.size += len(theirs.batch)
                self.position = theirs.end
                if self._compaction is not None and self._compaction.waiting:
                    self._explain(records_of(theirs.batch), self._compaction)
                self.source.drop_first()
                self.destination.drop_first()
                continue
            # To the end of the piece that ends first: from there both may be alike again.
            stretch = min([upto, *(piece.end for piece in (theirs, ours) if piece is not None)])
            if theirs is not None and theirs.end == stretch:
                self.size += len(theirs.batch)
            self._compare(self.source.take(stretch)[0], *self.destination.take(stretch))
            self.position = stretch

    def _compare(self, theirs: list[RawRecord], ours: list[RawRecord], hidden: set[int]) -> None:
        """`hidden`: offsets of `ours` that a read_committed consumer does not see."""
        self.records += len(theirs)
        if theirs == ours and not hidden:
            if self._compaction is not None and self._compaction.waiting:
                self._explain(theirs, self._compaction)
            return
        left = {record.offset: record for record in theirs}
        right = {record.offset: record for record in ours}
        for offset in sorted(left.keys() | right.keys()):
            if self._compaction is not None:
                self._explain([record for record in (left.get(offset), right.get(offset)) if record], self._compaction)
            for difference in self._differences(offset, left.get(offset), right.get(offset), offset in hidden):
                self._found(difference)

    @staticmethod
    def _explain(records: Iterable[RawRecord], compaction: Compaction) -> None:
        for record in records:
            compaction.seen(read_body(record.body)[0])

    def _differences(
        self, offset: int, theirs: RawRecord | None, ours: RawRecord | None, hidden: bool
    ) -> Iterator[Difference]:
        if theirs == ours and not hidden:
            return
        left = shown(theirs) if theirs else None
        right = shown(ours) if ours else None
        level = Level.UNCOMMITTED if hidden else Level.BOTH
        if left is None or right is None:
            what = What.EXTRA if left is None else What.MISSING
            yield Difference(self._partition, offset, (what,), level, left, right)
            return
        if hidden:
            yield Difference(self._partition, offset, (What.MISSING,), Level.COMMITTED, left, None)
        parts = parts_that_differ(left, right)
        if parts:
            yield Difference(self._partition, offset, parts, level, left, right)


def shown(record: RawRecord) -> Shown:
    """Raises ValueError for bytes that can't be read."""
    return Shown(*read_body(record.body), record.timestamp)


def _alike(theirs: Piece, ours: Piece) -> bool:
    """The same offsets of batches with the same bytes of records."""
    return (
        theirs.base == ours.base
        and theirs.end == ours.end
        and theirs.committed
        and ours.committed
        and theirs.batch[wire.MAGIC_AT] == 2
        and ours.batch[wire.MAGIC_AT] == 2
        and wire.same_records(theirs.batch, ours.batch)
    )
