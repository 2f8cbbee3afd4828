"""WriteTxnMarkers by hand: kafka-python's codec reads what is packed, and packs what is read."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kafka.protocol.producer import WriteTxnMarkersRequest, WriteTxnMarkersResponse

from kmirror.wire.errors import ProtocolError
from kmirror.wire.markers import MarkerWriter, decode_markers, encode_markers

WRITER = MarkerWriter(2**40 + 1, 3, 2**30 + 5)
names = st.sampled_from(["orders", "a", "x" * 249, "with.dots"])
places = st.tuples(names, st.integers(0, 2**31 - 1))


@given(st.dictionaries(places, st.integers(1, 7), min_size=1, max_size=6), st.sampled_from([1, 2]))
def test_requests_are_what_kafka_python_reads(counts: dict[tuple[str, int], int], version: int) -> None:
    body = encode_markers(version, counts, WRITER)
    request = WriteTxnMarkersRequest.decode(body, version=version)
    found: dict[tuple[str, int], int] = {}
    for entry in request.markers:
        assert (entry.producer_id, entry.producer_epoch) == (WRITER.producer_id, WRITER.producer_epoch)
        assert entry.coordinator_epoch == WRITER.coordinator_epoch
        assert entry.transaction_result is True
        if version >= 2:
            assert entry.transaction_version == 0
        for topic in entry.topics:
            for partition in topic.partition_indexes:
                found[topic.name, partition] = found.get((topic.name, partition), 0) + 1
    assert found == counts
    assert body == _reference(counts, version), "byte for byte"


def _reference(counts: dict[tuple[str, int], int], version: int) -> bytes:
    marker = WriteTxnMarkersRequest.WritableTxnMarker
    entries = []
    for level in range(1, max(counts.values()) + 1):
        topics: dict[str, list[int]] = {}
        for (name, partition), count in counts.items():
            if count >= level:
                topics.setdefault(name, []).append(partition)
        entries.append(
            marker(
                producer_id=WRITER.producer_id,
                producer_epoch=WRITER.producer_epoch,
                transaction_result=True,
                topics=[marker.WritableTxnMarkerTopic(name=n, partition_indexes=p) for n, p in topics.items()],
                coordinator_epoch=WRITER.coordinator_epoch,
                transaction_version=0,
            )
        )
    return bytes(WriteTxnMarkersRequest(markers=entries).encode(version=version))


def answer(*entries: dict[tuple[str, int], int]) -> memoryview:
    """The frame of an answer with these errors, one dict an entry."""
    result = WriteTxnMarkersResponse.WritableTxnMarkerResult
    topic_result = result.WritableTxnMarkerTopicResult
    partition = topic_result.WritableTxnMarkerPartitionResult
    markers = []
    for errors in entries:
        topics: dict[str, list[object]] = {}
        for (name, index), error in errors.items():
            topics.setdefault(name, []).append(partition(partition_index=index, error_code=error))
        markers.append(
            result(producer_id=9, topics=[topic_result(name=n, partitions=found) for n, found in topics.items()])
        )
    body = WriteTxnMarkersResponse(markers=markers).encode(version=1)
    return memoryview(bytearray(struct.pack(">i", 77) + b"\0" + body))


@given(st.dictionaries(places, st.sampled_from([0, 3, 6, 31, 47, 52]), max_size=6))
def test_responses_of_kafka_python_are_read(errors: dict[tuple[str, int], int]) -> None:
    assert decode_markers(answer(errors)) == errors


def test_an_error_of_any_entry_is_seen() -> None:
    place = ("orders", 0)
    for errors in ((0, 52), (52, 0)):
        assert decode_markers(answer(*({place: error} for error in errors))) == {place: 52}


@given(st.data())
def test_damaged_responses_are_a_protocol_error_or_an_answer(data: st.DataObject) -> None:
    frame = bytearray(answer({("orders", 0): 0, ("orders", 1): 3}, {("other", 7): 0}))
    for _ in range(data.draw(st.integers(1, 4))):
        frame[data.draw(st.integers(4, len(frame) - 1))] = data.draw(st.integers(0, 255))
    del frame[data.draw(st.integers(5, len(frame))) :]
    try:
        found = decode_markers(memoryview(frame))
    except ProtocolError:
        return
    assert isinstance(found, dict)


@pytest.mark.parametrize("cut", [4, 5, 9, 20, 30])
def test_a_cut_response_is_a_protocol_error(cut: int) -> None:
    with pytest.raises(ProtocolError, match="WriteTxnMarkers"):
        decode_markers(answer({("orders", 0): 0, ("orders", 1): 3})[:cut])
