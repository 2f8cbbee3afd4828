"""Small batches are merged before they are sent: what a batch costs, at both clusters, is paid once for many.

Only what waits to be sent is merged; nothing ever waits for more. Large batches stay as they are.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from typing import Final

from kmirror.engine.steps import Append, Fill
from kmirror.wire import batch as wire
from kmirror.wire.batch import BatchHeader, header, split
from kmirror.wire.merge import codec_to_merge, merge

MERGED_BYTES: Final = 900_000
"""The most that is merged into one batch: of what the source's batches take. A little below Kafka's own
max.message.bytes, for it may become more (`_GROWN_PART`); a topic that takes less is given less
(`PartitionCopy.merge_less`)."""
PACKED_BYTES: Final = 256 << 10
"""As much of compressed ones: to unpack and pack them again takes long, and all else waits meanwhile."""
_GROWTH_BYTES: Final = 8
"""How much longer a record may become: its length, its offset delta and its timestamp delta are written anew."""
_GROWN_PART: Final = 1.15
SMALL_BYTES: Final = 16 << 10
"""Of larger batches rewriting the records costs more than a batch does, unless the way is long."""


def take(queue: deque[Append | Fill], most_bytes: int, small_bytes: int = SMALL_BYTES) -> tuple[Append, int]:
    """Takes the batch to be sent next, made of the first steps of `queue`; and the bytes which those took.

    The first step is an Append. With `most_bytes` 0 the first batch is taken as it is; those over `small_bytes` always
    are.
    """
    large = queue[0]
    if isinstance(large, Append) and not large.is_small(small_bytes):
        queue.popleft()
        return large, large.size
    _shorten(queue, most_bytes)
    together = list(_together(queue, most_bytes, small_bytes))
    merged = merge([step.whole() for step in together]) if sum(step.source_batches for step in together) > 1 else None
    parts = _pop(queue, merged.parts if merged else 1)
    first = parts[0]
    if merged is None:
        return first, first.size
    count = parts[-1].end - first.base
    step = Append(
        first.base, count, merged.batch, first.base_timestamp, merged.max_timestamp, source_batches=merged.parts
    )
    return step, sum(part.size for part in parts)


def run_bytes(records: memoryview, most_bytes: int) -> int:
    """How large runs of small batches are to be, so that what came becomes batches of about one size."""
    came_bytes = len(records)
    if came_bytes >= wire.HEADER_BYTES and wire.attributes(records) & wire.COMPRESSION:
        most_bytes = min(most_bytes, PACKED_BYTES)
    runs = -(-came_bytes // most_bytes) if most_bytes else 1
    return min(most_bytes, came_bytes // runs + SMALL_BYTES) if runs > 1 else most_bytes


def before(step: Append, offset: int) -> Append:
    """The part of a step whose batches begin before `offset`, which is behind its base."""
    batches = sum(batch.base_offset < offset for batch in split(step.batch)) if step.source_batches > 1 else 1
    return _divide(step, batches)[0] if batches < step.source_batches else step


def _together(queue: Iterable[Append | Fill], most_bytes: int, small_bytes: int) -> Iterator[Append]:
    """The first steps that may become one batch: all small, of one codec."""
    codec, size, grown = None, 0, 0
    for step in queue:
        if not isinstance(step, Append) or not step.is_small(small_bytes):
            return
        size += step.size
        grown += _grown(step)
        if size > most_bytes or grown > _GROWN_PART * most_bytes:
            return
        found = codec_to_merge(step.batch)
        if found is None or codec not in {None, found}:
            return
        codec = found
        yield step


def _grown(step: Append) -> int:
    return step.size + _GROWTH_BYTES * step.count


def _shorten(queue: deque[Append | Fill], most_bytes: int) -> None:
    """A run may be longer than what is to be merged by now, or would become too long by many short records."""
    first = queue[0]
    if not isinstance(first, Append) or first.source_batches == 1:
        return
    most_bytes = min(most_bytes, int(_GROWN_PART * most_bytes * first.size / _grown(first)))
    if first.size > most_bytes:
        sizes = accumulate(len(batch.data) for batch in split(first.batch))
        _divide_first(queue, max(1, sum(size <= most_bytes for size in sizes)))


def _pop(queue: deque[Append | Fill], batches: int) -> list[Append]:
    """The steps that hold the first so many batches."""
    parts: list[Append] = []
    while batches:
        if isinstance(first := queue[0], Append) and first.source_batches > batches:
            _divide_first(queue, batches)
        part = queue.popleft()
        assert isinstance(part, Append)
        parts.append(part)
        batches -= part.source_batches
    return parts


def _divide_first(queue: deque[Append | Fill], batches: int) -> None:
    first = queue.popleft()
    assert isinstance(first, Append)
    queue.extendleft(reversed(_divide(first, batches)))


def _divide(run: Append, batches: int) -> tuple[Append, Append]:
    """The first so many batches of a run, and the others."""
    found = list(split(run.batch))
    at = sum(len(batch.data) for batch in found[:batches])
    middle = found[batches].base_offset
    heads = [header(batch.data) for batch in found]
    front, back = heads[:batches], heads[batches:]
    return (
        _part(run.base, middle, run.batch[:at], front),
        _part(middle, run.end, run.batch[at:], back),
    )


def _part(base: int, end: int, batch: memoryview, heads: Sequence[BatchHeader]) -> Append:
    latest = max(head.max_timestamp for head in heads)
    return Append(base, end - base, batch, heads[0].base_timestamp, latest, len(heads))
