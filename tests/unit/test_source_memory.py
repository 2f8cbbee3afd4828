"""What waits for a slow destination does not keep more in memory than it weighs."""

from types import SimpleNamespace
from typing import Any, cast

from kmirror.engine.brake import Brake
from kmirror.engine.budget import Budget
from kmirror.engine.copy import PartitionCopy
from kmirror.engine.counters import RunCounters
from kmirror.engine.intake import FetchEvents
from kmirror.engine.source import SourceFetcher
from kmirror.model.mirror import Mirror
from kmirror.model.settings import UNLIMITED, settings_from
from kmirror.model.states import MirrorState
from kmirror.wire.buffers import BufferPool
from kmirror.wire.connection import Connection
from kmirror.wire.fetch import BY_ID, FetchAnswer, Fetched
from support.batches import dense

TOPIC_ID = "AAAAAAAAAAAAAAAAAAAAAA"
FRAME_BYTES = 1 << 20
LIMIT_BYTES = 16 << 20


def test_small_parts_of_large_answers_that_wait_do_not_keep_all_of_them() -> None:
    """One record of each answer waits, and everything else that came with it is long sent."""
    pool, settings = BufferPool(0), settings_from({"fetch.buffer.bytes": str(LIMIT_BYTES)})
    cluster: Any = SimpleNamespace(round_trip_s=0.0, leader=lambda *_: 1, access=None)
    copy = PartitionCopy(Mirror("t", "t", TOPIC_ID, TOPIC_ID, 1, MirrorState.ACTIVE, 1), 0, Budget(LIMIT_BYTES))
    copy.opened(1, 0, None, -1)
    told: list[object] = []
    fetcher = SourceFetcher(
        1,
        cluster,
        settings,
        Budget(LIMIT_BYTES),
        Brake(UNLIMITED, RunCounters()),
        tell=FetchEvents(*[told.append] * 4, lambda: None),
        brokers=lambda: 1,
        destinations=lambda: 1,
        fetched_from=lambda _: 1,
        pipes=lambda: None,
    )
    fetcher.fetch(copy)
    lane = fetcher._lanes[0]
    lane.use(cast("Connection", SimpleNamespace(name="broker 1")), BY_ID)
    batches, most = [], 0
    for offset in range(100):
        fetcher._look(0)
        lane.next_request()
        batches.append(dense(offset, 1))
        frame = pool.take(FRAME_BYTES)
        frame[: len(batches[-1])] = batches[-1]
        records = frame[: len(batches[-1])]
        answer = Fetched(copy.source_topic_id, 0, 0, offset + 1, offset + 1, 0, (), records)
        cluster.held_bytes = pool.held_bytes
        fetcher._take(lane, FetchAnswer(0, 0, [answer], 1), 1)
        del frame, records, answer
        most = max(most, pool.held_bytes)
    assert most <= 1.25 * LIMIT_BYTES + 2 * FRAME_BYTES
    assert most > LIMIT_BYTES, "as long as there is room nothing is copied"
    assert set(told) == {copy}
    assert [copy.position, copy.queued_bytes] == [100, sum(map(len, batches))]
    assert [bytes(step.batch) for step in copy._queue] == batches  # type: ignore[union-attr]
