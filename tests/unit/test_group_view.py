"""`mirror groups` without a cluster: how a group stands in a partition."""

import pytest

from kmirror.model.group_offsets import Committed, LogBounds, Synced
from kmirror.ops.mirror_groups import Standing, standing

LOG = LogBounds(10, 100)


@pytest.mark.parametrize(
    ("source", "synced", "there", "expected"),
    [
        (50, None, None, Standing.NOT_SYNCED),
        (50, (50, 50), 50, Standing.SYNCED),
        (60, (50, 50), 50, Standing.BEHIND),
        (50, None, 40, Standing.BEHIND),
        (50, (50, 50), 70, Standing.MOVED),
        (60, (50, 50), 70, Standing.BEHIND),
        (150, (150, 100), 100, Standing.AT_LOG_END),
        (150, (150, 90), 90, Standing.BEHIND),
        (None, (50, 50), 50, Standing.SYNCED),
        (5, (5, 5), 5, Standing.OUT_OF_RANGE),
        (50, None, 101, Standing.OUT_OF_RANGE),
    ],
)
def test_how_a_group_stands(
    source: int | None, synced: tuple[int, int] | None, there: int | None, expected: Standing
) -> None:
    found = standing(
        None if source is None else Committed(source),
        None if synced is None else Synced(Committed(synced[0]), synced[1], 0),
        None if there is None else Committed(there),
        LOG,
        in_use=False,
    )
    assert found is expected


def test_a_group_in_use_and_a_partition_that_is_not_there() -> None:
    assert standing(Committed(1), None, Committed(1), LOG, in_use=True) is Standing.IN_USE
    assert standing(Committed(1), None, Committed(1), None, in_use=False) is Standing.NOT_SYNCED
