"""Source logs packed by hand: what compaction, old clients and coordinators leave behind, at offsets that are known."""

from support.batches import TRANSACTIONAL, Rec, batch, dense, marker, message, message_set
from support.source_log import seeded_log

FAR = 2_500_000
"""A log start that takes more than one batch of filler."""

KEEP = {"retention.ms": "-1", "message.timestamp.after.max.ms": str(2**63 - 1)}
"""Hand-made records are old: retention must not touch them."""


def compacted(codec: int) -> bytes:
    """Holes at the start, inside and between batches, an emptied batch, tombstones, a batch with its tail alone."""
    return b"".join(
        [
            batch(3, [Rec(2, b"first"), Rec(3), Rec(7, None, b"tombstone")], attributes=codec, last_delta=9),
            batch(20, [], last_delta=4, producer=(7, 0, 0)),
            batch(25, [Rec(0, b"x" * 500, b"key", headers=(("h", None), ("h", b"1")))], attributes=codec),
            dense(26, 5, attributes=codec),
            batch(
                40, [Rec(i, b"%d" % i, b"k%d" % i, 1_700_000_000_000 - i) for i in range(0, 50, 3)], attributes=codec
            ),
            batch(95, [Rec(4, None, b"last")], attributes=codec),
        ]
    )


def old_format(magic: int) -> bytes:
    """Plain and compressed messages of format v0 or v1 with a hole between them, and today's behind them."""
    return b"".join(
        [
            message(2, b"plain", magic=magic, key=b"key"),
            message(3, None, magic=magic, key=b"tombstone"),
            message_set(6, 20, magic=magic),
            message(26, b"", magic=magic),
            dense(27, 3),
        ]
    )


def transactions(count: int) -> bytes:
    """So many transactions of one record, every third aborted, each by a producer of its own."""
    parts = []
    for i in range(count):
        producer = 1_000 + i % 50
        parts.append(dense(2 * i, 1, attributes=TRANSACTIONAL, producer=(producer, 0, i // 50)))
        parts.append(marker(2 * i + 1, producer, commit=i % 3 > 0))
    return b"".join(parts)


def lone_markers() -> bytes:
    """Transactions without records: first in the log, in a row, and last."""
    ends = [marker(i, 77, commit=i % 2 > 0) for i in range(3)]
    return b"".join([*ends, dense(3, 2), marker(5, 77, commit=True), dense(6, 1), marker(7, 78, commit=False)])


def odd_times() -> bytes:
    """Records without a timestamp, of 1970, of the year 292 million, and back."""
    times = [-1, 0, 1, 2**62, 1_700_000_000_000]
    return b"".join(batch(2 * i, [Rec(0, at=at), Rec(1, at=times[-1 - i])]) for i, at in enumerate(times))


def far_log(base: int) -> bytes:
    """A log whose first offset is `base`."""
    return dense(base, 4) + batch(base + 4, [Rec(1), Rec(3)]) + marker(base + 8, 5, commit=True)


LOGS = {
    "compacted": [(0, compacted(codec)) for codec in range(5)],
    "old-formats": [(0, old_format(0)), (0, old_format(1))],
    "transactions": [(0, transactions(2_000))],
    "lone-markers": [(0, lone_markers())],
    "odd-times": [(0, odd_times())],
    "far": [(FAR, far_log(FAR)), (7, far_log(7)), (0, far_log(0))],
    "drawn": [(0, seeded_log(seed, 120).data) for seed in range(6)],
}
"""Topic to its partitions: where each begins, and its bytes."""
