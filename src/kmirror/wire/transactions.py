"""The requests of an empty transaction (KIP-98): a partition is added, the transaction ended, and its state asked for.

Versions that every client may use: AddPartitionsToTxn 3 and EndTxn 4 are the last before the transactions of KIP-890.
"""

from collections.abc import Collection, Iterable
from typing import Final

from kafka.protocol.admin import DescribeTransactionsRequest, DescribeTransactionsResponse
from kafka.protocol.producer import (
    AddPartitionsToTxnRequest,
    AddPartitionsToTxnResponse,
    EndTxnRequest,
    EndTxnResponse,
)

from kmirror.wire.answers import Answers, answers_of, reading, the_only
from kmirror.wire.connection import Connection
from kmirror.wire.errors import NONE, TRANSACTIONAL_ID_NOT_FOUND
from kmirror.wire.topics import Place, by_topic

AT_REST: Final = frozenset({"Empty", "CompleteCommit", "CompleteAbort", "Dead"})
"""States in which every marker of the last transaction is written (org.apache.kafka.coordinator.transaction)."""

Producer = tuple[int, int]
"""Producer id and epoch, as InitProducerId gave them."""


async def add_partitions(
    connection: Connection, transactional_id: str, producer: Producer, places: Iterable[Place]
) -> dict[Place, int]:
    """Begins a transaction at the coordinator; returns the error codes. Nothing is written to the partitions yet.

    It adds all or none: what it has nothing against is OPERATION_NOT_ATTEMPTED then.
    """
    item = AddPartitionsToTxnRequest.AddPartitionsToTxnTopic
    topics = by_topic(places)
    request = AddPartitionsToTxnRequest(
        v3_and_below_transactional_id=transactional_id,
        v3_and_below_producer_id=producer[0],
        v3_and_below_producer_epoch=producer[1],
        v3_and_below_topics=[item(name=name, partitions=partitions) for name, partitions in topics.items()],
    )
    answer = await connection.call(request, AddPartitionsToTxnResponse, connection.version_of(24, 1, 3))
    with reading(connection, "AddPartitionsToTxn"):
        codes = {
            (str(topic.name), int(found.partition_index)): int(found.partition_error_code)
            for topic in answer.results_by_topic_v3_and_below
            for found in topic.results_by_partition
        }
        return {(topic, partition): codes[topic, partition] for topic in topics for partition in topics[topic]}


async def end_transaction(connection: Connection, transactional_id: str, producer: Producer) -> int:
    """Commits; returns the error code. The coordinator answers first, then it writes the marker."""
    request = EndTxnRequest(
        transactional_id=transactional_id, producer_id=producer[0], producer_epoch=producer[1], committed=True
    )
    answer = await connection.call(request, EndTxnResponse, connection.version_of(26, 1, 4))
    return int(answer.error_code)


async def transaction_stage(connection: Connection, transactional_id: str) -> str | None:
    """The coordinator's state of a transactional id ("Ongoing", ...), None for one that it does not know (KIP-664).

    Raises BrokerError.
    """
    return the_only(await transaction_stages(connection, [transactional_id]))


async def transaction_stages(connection: Connection, transactional_ids: Collection[str]) -> Answers[str, str | None]:
    """Of each as `transaction_stage`, or its error."""
    request = DescribeTransactionsRequest(transactional_ids=list(transactional_ids))
    answer = await connection.call(request, DescribeTransactionsResponse, connection.version_of(65, 0, 0))
    with reading(connection, "DescribeTransactions"):
        found: dict[str, tuple[int, str | None]] = {}
        for state in answer.transaction_states:
            unknown = state.error_code == TRANSACTIONAL_ID_NOT_FOUND
            stage = None if unknown else str(state.transaction_state)
            found[state.transactional_id] = (NONE if unknown else state.error_code, stage)
        return answers_of(transactional_ids, found, "DescribeTransactions")
