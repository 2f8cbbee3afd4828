"""What a batch costs inside the mirror, without brokers: `python -m bench.steps`.

Each step alone, best of a few runs, in microseconds of CPU for each batch of the source.
"""

import random
import struct
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from bench.loads import RECORD_BYTES
from kmirror.engine import coalesce
from kmirror.engine.compare import Comparison, Piece
from kmirror.engine.steps import Append, Fill
from kmirror.engine.translate import translate
from kmirror.wire import merge, moved
from kmirror.wire.records import RawRecord, write_batch
from kmirror.wire.varint import encode_signed

_BYTES: Final = 4_000_000
_RUNS: Final = 5
_CODECS: Final = {"none": 0, "snappy": 2, "lz4": 3, "zstd": 4}


@dataclass(frozen=True, slots=True)
class Shape:
    records: int
    record_bytes: int
    codec: str = "none"

    def log(self) -> memoryview:
        """Batches as a fetch brings them; the values are hexadecimal numbers, of which a codec leaves half."""
        chance = random.Random(1)
        out = bytearray()
        base = 0
        while len(out) < _BYTES:
            run = [self._record(base + index, chance) for index in range(self.records)]
            batch = write_batch(run, _CODECS[self.codec])
            struct.pack_into(">q", batch, 0, base)
            out += batch
            base += self.records
        return memoryview(out)

    def _record(self, offset: int, chance: random.Random) -> RawRecord:
        value = chance.randbytes(self.record_bytes // 2).hex().encode()
        body = encode_signed(-1) + encode_signed(len(value)) + value + encode_signed(0)
        return RawRecord(offset, 1_700_000_000_000 + offset // 100, body)


SHAPES: Final = (
    Shape(1, RECORD_BYTES),
    Shape(5, RECORD_BYTES),
    Shape(45, 100),
    *(Shape(5, RECORD_BYTES, codec) for codec in ("snappy", "lz4", "zstd")),
    Shape(130, RECORD_BYTES),
)


def main() -> None:
    print(f"compiled part: {'yes' if moved.moved is not moved.moved_slowly else 'no'}; microseconds a batch")
    print(f"{'batch':24}{'read':>8}{'merge':>8}{'in Python':>11}{'verify':>8}")
    for shape in SHAPES:
        log = shape.log()
        found = _appends(log, (0, 0))
        runs = _appends(log)
        sent = list(_merged(runs))
        read = _best(lambda log=log: _appends(log))
        compiled = _best(lambda runs=runs: deque(_merged(runs), maxlen=0))
        merge.moved, kept = moved.moved_slowly, merge.moved
        slow = _best(lambda runs=runs: deque(_merged(runs), maxlen=0))
        merge.moved = kept
        compared = _best(lambda found=found, sent=sent: _compare(found, sent))
        name = f"{shape.records} x {shape.record_bytes} bytes, {shape.codec}"
        cells = (1e6 * seconds / len(found) for seconds in (read, compiled, slow, compared))
        print(f"{name:24}" + "".join(f"{cell:{width}.1f}" for cell, width in zip(cells, (8, 8, 11, 8), strict=True)))


def _appends(log: memoryview, most: tuple[int, int] = (coalesce.SMALL_BYTES, coalesce.MERGED_BYTES)) -> list[Append]:
    return [step for step in translate(log, 0, (), most) if isinstance(step, Append)]


def _merged(found: list[Append]) -> Iterator[Append]:
    queue: deque[Append | Fill] = deque(found)
    while queue:
        yield coalesce.take(queue, coalesce.MERGED_BYTES)[0]


def _compare(theirs: list[Append], ours: list[Append]) -> None:
    """As `mirror verify` does, without the fetches."""
    span = range(theirs[-1].end)
    comparison = Comparison(0, span, _differs)
    comparison.source.add([Piece(step.base, step.end, step.batch) for step in theirs], span.stop)
    for step in ours:
        struct.pack_into(">q", step.batch, 0, step.base)
    comparison.destination.add([Piece(step.base, step.end, step.batch) for step in ours], span.stop)
    comparison.advance()
    assert comparison.records == span.stop


def _differs(difference: object) -> None:
    raise AssertionError(f"merged wrongly: {difference}")


def _best(work: Callable[[], object]) -> float:
    best = float("inf")
    for _ in range(_RUNS):
        started = time.process_time()
        work()
        best = min(best, time.process_time() - started)
    return best


if __name__ == "__main__":
    main()
