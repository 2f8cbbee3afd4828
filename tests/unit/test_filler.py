"""Filler: as many empty records as asked for, in one valid batch of little more than a byte each."""

import pytest

from kmirror.wire import batch as wire
from kmirror.wire.filler import MOST_RECORDS, filler_batch


@pytest.mark.parametrize("count", [1, 2, 63, 64, 10_000])
def test_each_record_is_empty_and_at_its_offset(count: int) -> None:
    data = filler_batch(count, 1_700_000_000_000)
    header = wire.header(data)
    assert wire.is_intact(data)
    assert header.dense
    assert (header.base_offset, header.record_count, header.producer_id) == (0, count, -1)
    records = wire.decode(data)
    assert [record.offset for record in records] == list(range(count))
    assert {record[1:] for record in records} == {(1_700_000_000_000, None, None, ())}


def test_the_largest_batch_fits_every_limit() -> None:
    data = filler_batch(MOST_RECORDS, 1)
    assert wire.header(data).record_count == MOST_RECORDS
    assert len(data) < 1_048_588, "max.message.bytes as Kafka ships it"
