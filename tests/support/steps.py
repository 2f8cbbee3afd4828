"""Steps as values, for a test to compare."""

from collections.abc import Sequence

from kmirror.engine.steps import Append, Fill, Reencode, Step, Stop


def plain(found: Sequence[Step]) -> list[tuple[object, ...]]:
    """Steps as values that compare by content."""
    out: list[tuple[object, ...]] = []
    for step in found:
        match step:
            case Append():
                out.append(("append", step.base, step.count, bytes(step.whole()), step.max_timestamp))
            case Fill():
                out.append(("fill", step.base, step.count, step.gap))
            case Reencode():
                out.append(("reencode", step.base, step.count, bytes(step.batch), step.form))
            case Stop():
                out.append(("stop", step.base, step.code))
    return out
