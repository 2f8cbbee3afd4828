"""The source does not hold the mirror's position: retention overran the mirror, or the source's log was cut."""

from kmirror.engine.copy import PartitionCopy, now_ms
from kmirror.engine.opening import Broken, source_bounds
from kmirror.engine.questions import Questions
from kmirror.engine.recorder import Recorder
from kmirror.engine.steps import Fill, Gap
from kmirror.model.failures import Failure
from kmirror.model.ledger import LostGap
from kmirror.model.mirror import MirrorError


async def bridge(copy: PartitionCopy, source: Questions, recorder: Recorder, most: int) -> Fill | None:
    """The gap up to the source's log start, written into the ledger; None when the position is held after all.

    Raises Broken where more than `most` offsets are lost or the log was cut, ClusterError for what may pass.
    """
    position, generation = copy.position, copy.generation
    start, end = await source_bounds(copy, source)
    if position > end:
        message = f"the source's log ends at {end}, before the mirror's position {position}: records were lost there"
        raise Broken(MirrorError(Failure.UNEXPECTED_TRUNCATION, message, copy.partition, end))
    lost = start - position
    if lost <= 0:
        return None
    if lost > most:
        message = (
            f"retention removed offsets {position} to {start - 1} of the source before they were copied: "
            f"{lost} are more than gap.fill.max ({most})"
        )
        raise Broken(MirrorError(Failure.RETENTION_OVERRUN, message, copy.partition, position))
    if generation != copy.generation:
        return None
    gap = LostGap(copy.topic, copy.partition, position, lost, now_ms(), str(Gap.LOST))
    await recorder.lost(copy.topic, gap)
    return Fill(position, lost, Gap.LOST) if generation == copy.generation else None
