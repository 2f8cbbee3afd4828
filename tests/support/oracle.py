"""The judge of every mirror: compares two topics record by record, by confluent-kafka alone.

The truth is the source as a `read_committed` consumer sees it, up to its last stable offset. The destination has
to show exactly that at *both* isolation levels: aborted records are not copied, and nothing else may appear.

Each side is read once per isolation level into two integers a record (offset, digest); so a comparison costs 16
bytes a record whatever the records weigh. Only the records that differ are read again, to say what differs.
"""

import time
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

from support import logs
from support.difference import Difference, What
from support.logs import Bounds, Isolation, Log

DETAILED = 20
"""So many differing records are read again and told in full; the rest are counted."""

IGNORABLE = frozenset({What.LOG_START, What.TIMESTAMP_TYPE})


class Differences(list[Difference]):
    """A list, empty if both sides are equal."""

    records: int = 0
    """How many source records were looked at: a comparison of nothing is no proof."""


@dataclass(frozen=True, slots=True)
class _Rules:
    upto: Mapping[int, int]
    may_lag: bool
    ignore: Collection[What]


def compare(
    source_bootstrap: str,
    destination_bootstrap: str,
    topic: str,
    destination_topic: str | None = None,
    *,
    timeout: float = 60,
    upto: Mapping[int, int] | None = None,
    may_lag: bool = False,
    ignore: Collection[What] = (),
) -> Differences:
    """All differences between a source topic and its mirror; an empty list means equal.

    upto      for these partitions only offsets below are compared, and both logs must reach that far
    may_lag   the destination may end before the source; what it has must be right
    ignore    of LOG_START (mirrors that start late) and TIMESTAMP_TYPE (a LogAppendTime source before promote)
    """
    if not IGNORABLE.issuperset(ignore):
        raise ValueError(f"only {sorted(IGNORABLE)} can be ignored, not {sorted(ignore)}")
    rules = _Rules(upto or {}, may_lag, ignore)
    deadline = time.monotonic() + timeout
    # The destination's ends are read first: a mirror that copies meanwhile can't look ahead of its source.
    destination = logs.Topic(destination_bootstrap, destination_topic or topic, deadline)
    destination_bounds = destination.bounds()
    source = logs.Topic(source_bootstrap, topic, deadline)
    source_bounds = source.bounds()
    if not source_bounds:
        raise LookupError(f'there is no topic "{topic}" at the source: nothing to compare with')

    found = Differences()
    if len(source_bounds) != len(destination_bounds):
        found.append(Difference(None, None, None, What.PARTITIONS, len(source_bounds), len(destination_bounds)))
    pairs = {p: (source_bounds[p], destination_bounds[p]) for p in source_bounds.keys() & destination_bounds}
    spans = {}
    for partition, pair in sorted(pairs.items()):
        found += _bounds_differences(partition, *pair, rules)
        spans[partition] = _span(*pair, rules.upto.get(partition), may_lag)
    found.records, differing = _compare_records(
        source, destination, pairs, spans, typed=What.TIMESTAMP_TYPE not in ignore
    )
    found += differing
    return found


def assert_same(*args: Any, at_least: int = 1, **options: Any) -> int:
    """Fail with all that `compare` finds, or when it looked at fewer than `at_least` records; returns how many."""
    found = compare(*args, **options)
    if found:
        told = "\n".join(f"  {difference}" for difference in found)
        raise AssertionError(f"the mirror differs from its source ({found.records} records compared):\n{told}")
    if found.records < at_least:
        raise AssertionError(f"only {found.records} records to compare, expected {at_least} or more")
    return found.records


def _bounds_differences(partition: int, source: Bounds, destination: Bounds, rules: _Rules) -> Iterator[Difference]:
    if source.start != destination.start and What.LOG_START not in rules.ignore:
        yield Difference(partition, None, None, What.LOG_START, source.start, destination.start)
    # A mirror copies up to the last stable offset and opens no transaction: both of its ends are there.
    expected = source.end[Isolation.COMMITTED]
    limit = rules.upto.get(partition)
    for isolation in Isolation:
        end = destination.end[isolation]
        if limit is not None:
            wrong = end < limit or expected < limit
        elif rules.may_lag:
            # Only an open transaction tears the two ends apart; the later reading may be ahead.
            wrong = end > expected
        else:
            wrong = end != expected
        if wrong:
            yield Difference(partition, None, isolation, What.LOG_END, expected, end)


def _span(source: Bounds, destination: Bounds, limit: int | None, may_lag: bool) -> range:
    """The offsets to compare: below the higher log start at most one side has records, which was told already."""
    start = max(source.start, destination.start)
    stop = max(*source.end.values(), *destination.end.values())
    if may_lag:
        stop = min(stop, *destination.end.values())
    if limit is not None:
        stop = min(stop, limit)
    return range(start, max(start, stop))


def _compare_records(
    source: logs.Topic,
    destination: logs.Topic,
    pairs: Mapping[int, tuple[Bounds, Bounds]],
    spans: Mapping[int, range],
    *,
    typed: bool,
) -> tuple[int, list[Difference]]:
    def read(topic: logs.Topic, side: int, isolation: Isolation) -> dict[int, Log]:
        ends = {p: min(spans[p].stop, pairs[p][side].end[isolation]) for p in spans}
        return topic.read({p: range(spans[p].start, ends[p]) for p in spans}, isolation, typed=typed)

    with ThreadPoolExecutor(3) as pool:
        truth = pool.submit(read, source, 0, Isolation.COMMITTED)
        shown = {isolation: pool.submit(read, destination, 1, isolation) for isolation in Isolation}
    expected = truth.result()
    differing = chain.from_iterable(
        _differing(partition, isolation, log, shown[isolation].result()[partition])
        for partition, log in sorted(expected.items())
        for isolation in Isolation
    )
    with source.picker(Isolation.COMMITTED) as theirs, destination.picker(Isolation.UNCOMMITTED) as ours:
        told: list[Difference] = []
        more = 0
        for count, difference in enumerate(differing):
            if count < DETAILED:
                told += _details(difference, theirs, ours, typed)
            else:
                more += 1
    if more:
        told.append(Difference(None, None, None, What.MORE, None, more))
    return sum(len(log.offsets) for log in expected.values()), told


def _differing(partition: int, isolation: Isolation, source: Log, destination: Log) -> Iterator[Difference]:
    """Merge two logs, both in the order of their offsets; VALUE stands for "changed somehow" until it is read again."""
    if source == destination:
        return
    i = j = 0
    while i < len(source.offsets) or j < len(destination.offsets):
        theirs = source.offsets[i] if i < len(source.offsets) else None
        ours = destination.offsets[j] if j < len(destination.offsets) else None
        if theirs == ours:
            if source.digests[i] != destination.digests[j]:
                yield Difference(partition, theirs, isolation, What.VALUE, None, None)
            i, j = i + 1, j + 1
        elif ours is None or (theirs is not None and theirs < ours):
            yield Difference(partition, theirs, isolation, What.MISSING, None, None)
            i += 1
        else:
            yield Difference(partition, ours, isolation, What.EXTRA, None, None)
            j += 1


def _details(
    difference: Difference, source: logs.Picker, destination: logs.Picker, typed: bool
) -> Iterator[Difference]:
    """Read the one record again, on the sides that have it, and say which parts differ."""
    at = (difference.partition, difference.offset)
    theirs = source.pick(*at) if difference.what is not What.EXTRA else None
    ours = destination.pick(*at) if difference.what is not What.MISSING else None
    differing: dict[What, tuple[object, object]] = {}
    if difference.what is not What.VALUE:
        differing = {difference.what: (theirs, ours)}
    elif theirs and ours:
        parts = {
            What.KEY: (theirs.key, ours.key),
            What.VALUE: (theirs.value, ours.value),
            What.HEADERS: (theirs.headers, ours.headers),
            What.TIMESTAMP: (theirs.timestamp, ours.timestamp),
            What.TIMESTAMP_TYPE: (theirs.timestamp_type, ours.timestamp_type) if typed else (None, None),
        }
        differing = {what: pair for what, pair in parts.items() if pair[0] != pair[1]}
    # Nothing differs any more: somebody changes a topic that is being compared.
    for what, (one, other) in (differing or {What.UNSTABLE: (theirs, ours)}).items():
        yield replace(difference, what=what, source=one, destination=other)
