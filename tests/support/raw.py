"""Single requests to a broker, as no client library sends them: markers without a transaction, batches as they are."""

import socket
import struct
import time
from typing import Any, Final

from kafka.protocol.consumer import FetchRequest, FetchResponse, ListOffsetsRequest, ListOffsetsResponse
from kafka.protocol.producer import (
    ProduceRequest,
    ProduceResponse,
    WriteTxnMarkersRequest,
    WriteTxnMarkersResponse,
)

UNKNOWN_TOPIC: Final = 3


def call(bootstrap: str, request: Any, response: Any, version: int, timeout: float = 20) -> Any:
    """Sends one request to the first of the bootstrap servers and decodes the answer."""
    host, port = bootstrap.split(",", maxsplit=1)[0].rsplit(":", 1)
    header = struct.pack(">hhih", request.API_KEY, version, 1, 4) + b"test"
    if request.flexible_version_q(version):
        header += b"\0"
    frame = header + request.encode(version=version)
    with socket.create_connection((host, int(port)), timeout) as connection:
        connection.sendall(struct.pack(">i", len(frame)) + frame)
        with connection.makefile("rb") as stream:
            (size,) = struct.unpack(">i", stream.read(4))
            return response.decode(stream.read(size), version=version, header=True)


def write_markers(
    bootstrap: str,
    topic: str,
    count: int = 1,
    *,
    partition: int = 0,
    producer: tuple[int, int] = (990_001, 0),
    coordinator_epoch: int = 0,
) -> int:
    """Appends commit markers of nobody's transaction; returns the error code. One broker leads everything."""
    markers = WriteTxnMarkersRequest.WritableTxnMarker
    topics = markers.WritableTxnMarkerTopic
    entry = markers(
        producer_id=producer[0],
        producer_epoch=producer[1],
        transaction_result=True,
        topics=[topics(name=topic, partition_indexes=[partition])],
        coordinator_epoch=coordinator_epoch,
    )
    deadline = time.monotonic() + 20
    while True:
        answer = call(bootstrap, WriteTxnMarkersRequest(markers=[entry] * count), WriteTxnMarkersResponse, 1)
        code = int(answer.markers[0].topics[0].partitions[0].error_code)
        if code != UNKNOWN_TOPIC or time.monotonic() > deadline:  # a topic just made is not everywhere yet
            return code


def await_fetches_over(bootstrap: str, topic: str, wait_ms: int) -> None:
    """Returns when each fetch that was sent before, and waits no longer for records than `wait_ms`, has its answer.

    By a fetch of its own of partition 0, which is to wait as long: at its broker they run out in order.
    """
    topics = ListOffsetsRequest.ListOffsetsTopic
    end = topics(name=topic, partitions=[topics.ListOffsetsPartition(partition_index=0, timestamp=-1)])
    request = ListOffsetsRequest(replica_id=-1, isolation_level=0, topics=[end])
    offset = call(bootstrap, request, ListOffsetsResponse, 4).topics[0].partitions[0].offset
    asked = FetchRequest.FetchTopic
    place = asked.FetchPartition(partition=0, fetch_offset=offset, partition_max_bytes=1)
    fetch = FetchRequest(max_wait_ms=wait_ms, min_bytes=1, topics=[asked(topic=topic, partitions=[place])])
    began = time.monotonic()
    answer = call(bootstrap, fetch, FetchResponse, 11, timeout=60)
    assert time.monotonic() - began >= wait_ms / 1000, f"it did not wait: {answer}"


def produce_batch(bootstrap: str, topic: str, batch: bytes, *, partition: int = 0) -> int:
    """Produces one hand-made batch (base offset 0); returns where it landed."""
    topics = ProduceRequest.TopicProduceData
    data = topics(name=topic, partition_data=[topics.PartitionProduceData(index=partition, records=batch)])
    request = ProduceRequest(transactional_id=None, acks=-1, timeout_ms=20_000, topic_data=[data])
    answer = call(bootstrap, request, ProduceResponse, 9)
    found = answer.responses[0].partition_responses[0]
    assert found.error_code == 0, found
    return int(found.base_offset)
