"""What `--max-lag` calls late, and how it says so."""

from dataclasses import replace

import pytest

from kmirror.errors import NotReached
from kmirror.model.link import GapFill, Link
from kmirror.model.mirror import Mirror, MirrorError
from kmirror.model.states import MirrorState
from kmirror.model.status import LinkState, LinkStatus, MirrorStatus, PartitionState, PartitionStatus, Trouble
from kmirror.ops.lag_budget import late_mirrors, require_in_time
from kmirror.ops.seen import Seen
from kmirror.state.lock import Runner

NOW = 1_700_000_000_000
IN_TIME = PartitionStatus(0, PartitionState.COPYING, 100, 100, 0, NOW - 400)
BEHIND = PartitionStatus(0, PartitionState.COPYING, 90, 1100, 61_000, NOW - 400)


def seen(*parts, mirror=None, runner=True, age_ms=500):
    found = mirror or Mirror("orders", "orders", "s", "d", len(parts), MirrorState.ACTIVE, NOW)
    link = Link("east-west", "id", "E", "W", {}, GapFill.MARKERS, NOW, {found.topic: found})
    numbered = tuple(replace(part, partition=n) for n, part in enumerate(parts))
    mirrors = {found.topic: MirrorStatus(found.topic, found.state, numbered)}
    status = LinkStatus("east-west", 7, NOW - 90_000, NOW - age_ms, LinkState.ACTIVE, mirrors=mirrors)
    return Seen(link, Runner(7, NOW - 90_000) if runner else None, status if parts else None, NOW)


def reason(*given, budget_ms=60_000, **options):
    late = late_mirrors([seen(*given, **options)], budget_ms)
    return late[0].reason if late else None


def test_what_is_copied_in_time_is_not_late():
    assert reason(IN_TIME, replace(BEHIND, lag_ms=59_000)) is None
    assert late_mirrors([seen(BEHIND)], None) == ()


@pytest.mark.parametrize(
    ("parts", "options", "told"),
    [
        ((IN_TIME, BEHIND), {}, "partition 1 is 61 s late, 1,010 records"),
        ((BEHIND, replace(BEHIND, lag_ms=75_000)), {}, "partition 1 is 75 s late, 1,010 records, and 1 more of its 2"),
        ((replace(BEHIND, lag_ms=59_800),), {}, "partition 0 is 60 s late"),  # with the age of the status
        ((IN_TIME,), {"budget_ms": 300}, "the source has not been seen for 0.4 s at partition 0"),
        ((replace(IN_TIME, fetched_ms=NOW - 70_000),), {}, "has not been seen for 70 s at partition 0"),
        (
            (replace(IN_TIME, fetched_ms=NOW - 70_000, trouble=Trouble("no route to east", NOW)),),
            {},
            "at partition 0: no route to east",
        ),
        ((replace(IN_TIME, source_end=None, fetched_ms=None, lag_ms=None),), {}, "the lag of partition 0 is not known"),
        ((replace(BEHIND, lag_ms=None),), {}, "the lag of partition 0 is not known"),
        ((IN_TIME,), {"runner": False, "budget_ms": 0}, "at partition 0: no runner copies"),
        ((IN_TIME,), {"age_ms": 80_000, "budget_ms": 0}, "at partition 0: its runner does not answer"),
    ],
)
def test_what_is_late_or_can_not_be_told(parts, options, told):
    assert told in reason(*parts, **options)


def test_states():
    base = Mirror("orders", "orders", "s", "d", 1, MirrorState.ACTIVE, NOW)
    assert reason(BEHIND, mirror=replace(base, state=MirrorState.STOPPED)) is None
    failed = replace(base, state=MirrorState.FAILED, error=MirrorError("FOREIGN_WRITER", "m", 0, 5))
    assert reason(IN_TIME, mirror=failed) == "it is FAILED (FOREIGN_WRITER)"
    assert reason(BEHIND, mirror=replace(base, state=MirrorState.PAUSED)).startswith("it is PAUSED, partition 0 is 61")
    assert reason(mirror=base, runner=False) == "the lag of partition 0 is not known: no runner copies"


def test_one_line_names_the_worst_first():
    mirrors = [seen(replace(BEHIND, lag_ms=61_000 + n), mirror=seen(BEHIND).link.mirrors["orders"]) for n in range(8)]
    late = [replace(m, topic=f"t{n}") for n, m in enumerate(late_mirrors(mirrors, 60_000))]
    with pytest.raises(NotReached) as told:
        require_in_time(late, "1m")
    assert told.value.message == (
        'mirror topic "t7" on link "east-west" is not within 1m: partition 0 is 61 s late, 1,010 records; '
        "late too: t0, t1, t2, t3, t4 and 2 more"
    )
    assert told.value.exit_code == 4
    require_in_time([], "1m")
