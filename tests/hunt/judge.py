"""What is right for a mirror after all that happened: the oracle, and what each shape of topic needs beside it."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from hunt.schedule import Shape
from hunt.traffic import Journal, fingerprint
from kmirror.model.ledger import LostGap
from kmirror.sandbox import KafkaCluster
from support import logs, oracle
from support.difference import What
from support.logs import Isolation


@dataclass
class Judgement:
    records: int = 0
    differences: list[str] = field(default_factory=list)


def judge(
    source: KafkaCluster,
    destination: KafkaCluster,
    topic: str,
    shape: Shape,
    journal: Journal,
    *,
    behind: bool,
    upto: Mapping[int, int],
    gaps: Sequence[LostGap] | None,
) -> Judgement:
    """`behind`: FAILED or stopped, so it may end early. `upto`: where it FAILED because its log went wrong; nothing is
    promised from there on. `gaps`: the ledger, where it was never deleted.
    """
    if shape is Shape.COMPACTED:
        return _compacted(source, destination, topic, journal, behind=behind, upto=upto)
    ignore = {What.LOG_START} if shape is Shape.DELETED else set()
    if shape is Shape.APPEND_TIME:
        ignore.add(What.TIMESTAMP_TYPE)
    found = oracle.compare(
        source.bootstrap_servers, destination.bootstrap_servers, topic, ignore=ignore, may_lag=behind, upto=upto
    )
    # A mirror that ended does not grow with its source.
    told = [str(d) for d in found if not (behind and d.what is What.PARTITIONS)]
    if shape is Shape.DELETED and gaps is not None:
        told += _ledger(source, destination, topic, journal, [gap for gap in gaps if gap.topic == topic])
    return Judgement(found.records, told)


def _reader(cluster: KafkaCluster, topic: str) -> logs.Topic:
    return logs.Topic(cluster.bootstrap_servers, topic, time.monotonic() + 60)


def _compacted(
    source: KafkaCluster,
    destination: KafkaCluster,
    topic: str,
    journal: Journal,
    *,
    behind: bool,
    upto: Mapping[int, int],
) -> Judgement:
    """All that the source still holds is there. What the source has cleaned since was once there at that offset."""
    ours, theirs = _reader(destination, topic), _reader(source, topic)
    there, here = ours.bounds(), theirs.bounds()
    out = Judgement()
    for partition, bounds in here.items():
        end = bounds.end[Isolation.COMMITTED]
        if partition not in there:
            out.differences.append(f"partition {partition}: missing at the destination")
            continue
        reached = there[partition].end
        if behind:
            end = min(end, *reached.values(), upto.get(partition, end))
        elif set(reached.values()) != {end}:
            out.differences.append(f"partition {partition}: log end: source {end}, destination {reached}")
        span = {partition: range(bounds.start, end)}
        wanted = theirs.read(span, Isolation.COMMITTED)[partition]
        truth = dict(zip(wanted.offsets, wanted.digests, strict=True))
        out.records += len(truth)
        for isolation in Isolation:
            shown = ours.read({partition: range(there[partition].start, end)}, isolation)[partition]
            out.differences += _against(truth, shown, partition, isolation)
        out.differences += _extras(ours, partition, shown, truth, journal)
    return out


def _against(truth: Mapping[int, int], shown: logs.Log, partition: int, isolation: Isolation) -> list[str]:
    there = dict(zip(shown.offsets, shown.digests, strict=True))
    wrong = [offset for offset, digest in truth.items() if there.get(offset) != digest]
    return [
        f"partition {partition} offset {offset} ({isolation}): {'differs' if offset in there else 'missing'}"
        for offset in wrong[:10]
    ]


def _extras(ours: logs.Topic, partition: int, shown: logs.Log, truth: Mapping[int, int], journal: Journal) -> list[str]:
    """Records that the source has no more: each must be what was written to that very offset."""
    told = []
    extra = [offset for offset in shown.offsets if offset not in truth]
    with ours._consumer(Isolation.UNCOMMITTED) as consumer:
        if not extra:
            return []
        span = {partition: range(min(extra), max(extra) + 1)}
        seen = {m.offset(): (m.key(), m.value()) for m in ours._messages(consumer, span)}
    for offset in sorted(seen.keys() & set(extra)):  # the mirror's own cleaner may have taken one meanwhile
        mark = fingerprint(*seen[offset])
        acked = journal.acked[partition].get(offset)
        if mark not in journal.sent or (acked is not None and acked != mark):
            told.append(f"partition {partition} offset {offset}: extra at the destination: {seen[offset]!r:.200}")
    return told[:10]


def _ledger(
    source: KafkaCluster, destination: KafkaCluster, topic: str, journal: Journal, gaps: Sequence[LostGap]
) -> list[str]:
    """What was written, was deleted at the source and is not at the mirror stands in the ledger; and nothing else."""
    ours = _reader(destination, topic)
    here, there = _reader(source, topic).bounds(), ours.bounds()
    told = []
    for partition, bounds in there.items():
        stop = min(here[partition].start, bounds.end[Isolation.UNCOMMITTED])
        if stop <= bounds.start:
            continue
        present = set(ours.read({partition: range(bounds.start, stop)}, Isolation.UNCOMMITTED)[partition].offsets)
        lost = {o for gap in gaps if gap.partition == partition for o in range(gap.offset, gap.offset + gap.count)}
        written = {offset for offset in journal.acked[partition] if bounds.start <= offset < stop}
        silent = sorted(written - present - lost)
        lies = sorted(present & lost)
        if silent:
            told.append(f"partition {partition}: {len(silent)} records missing and not in the ledger, {silent[:5]}")
        if lies:
            told.append(f"partition {partition}: {len(lies)} records in the ledger and not missing, {lies[:5]}")
    return told
