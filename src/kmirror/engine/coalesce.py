"""Small batches are merged before they are sent: what a batch costs, at both clusters, is paid once for many.

Only what waits to be sent is merged; nothing ever waits for more. Large batches stay as they are.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Final

from kmirror.engine.steps import Append, Fill
from kmirror.wire.merge import codec_to_merge, merge

MERGED_BYTES: Final = 128 << 10
"""The most that is merged into one batch: of what a source batch takes, so it may become a little more."""
SMALL_BYTES: Final = 16 << 10
"""Of larger batches rewriting the records costs more than a batch does, unless the way is long."""


def take(queue: deque[Append | Fill], most_bytes: int, small_bytes: int = SMALL_BYTES) -> tuple[Append, int]:
    """Takes the batch to be sent next, made of the first steps of `queue`; and the bytes which those took.

    The first step is an Append. With `most_bytes` 0 it is taken as it is; batches over `small_bytes` always are.
    """
    run = list(_run(queue, most_bytes, small_bytes))
    merged = merge([step.batch for step in run]) if len(run) > 1 else None
    parts = [queue.popleft() for _ in range(merged.parts if merged else 1)]
    first, last = parts[0], parts[-1]
    assert isinstance(first, Append)
    if merged is None:
        return first, first.size
    count = last.end - first.base
    step = Append(
        first.base, count, merged.batch, first.base_timestamp, merged.max_timestamp, source_batches=merged.parts
    )
    return step, sum(part.size for part in parts)


def _run(queue: Iterable[Append | Fill], most_bytes: int, small_bytes: int) -> Iterator[Append]:
    """The first steps that may become one batch: all small, of one codec."""
    codec, size = None, 0
    for step in queue:
        size += step.size
        if not isinstance(step, Append) or step.size > small_bytes or size > most_bytes:
            return
        found = codec_to_merge(step.batch)
        if found is None or codec not in {None, found}:
            return
        codec = found
        yield step
