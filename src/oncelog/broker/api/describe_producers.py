"""DescribeProducers (key 61, v0): the producers that a partition remembers (KIP-664).

Reads state only. Errors per partition: UNKNOWN_TOPIC_OR_PARTITION, INVALID_TOPIC_EXCEPTION. When an answer
would hold too many producers, POLICY_VIOLATION, and of that partition only those with open transactions.
"""

from __future__ import annotations

from oncelog.broker.context import Context
from oncelog.broker.registry import Api
from oncelog.machine.producer_window import unpack
from oncelog.machine.state import Partition
from oncelog.machine.topics import topic_name_error
from oncelog.wire.errors import ErrorCode
from oncelog.wire.messages.describe_producers import (
    DescribeProducersRequest,
    DescribeProducersResponse,
    PartitionResponse,
    ProducerState,
    TopicResponse,
)

API = Api(request=DescribeProducersRequest, response=DescribeProducersResponse)

PRODUCERS_MAX = 20_000
"""Of one answer."""
NO_COORDINATOR_EPOCH = -1
"""Markers don't come from a coordinator on another broker."""


def handle(context: Context, request: DescribeProducersRequest) -> DescribeProducersResponse:
    """Answer each partition from the state."""
    topics = []
    room = PRODUCERS_MAX
    for asked in request.topics:
        topic = context.broker.state.shown_topic_named(asked.name)
        partitions = {} if topic is None else dict(enumerate(topic.partitions))
        described = []
        for index in asked.partition_indexes:
            described.append(_describe(asked.name, index, partitions.get(index), room))
            room -= len(described[-1].active_producers)
        topics.append(TopicResponse(name=asked.name, partitions=described))
    return DescribeProducersResponse(topics=topics)


def _describe(topic: str, index: int, partition: Partition | None, room: int) -> PartitionResponse:
    """room: how many producers the answer may still hold."""
    if partition is None:
        is_name = topic_name_error(topic) is None
        error = ErrorCode.UNKNOWN_TOPIC_OR_PARTITION if is_name else ErrorCode.INVALID_TOPIC_EXCEPTION
        return PartitionResponse(partition_index=index, error_code=error, active_producers=[])
    if len(partition.producers) > room:
        is_open = list(partition.open_transactions)[:room]
        return PartitionResponse(
            partition_index=index,
            error_code=ErrorCode.POLICY_VIOLATION,
            error_message=f"An answer tells of {PRODUCERS_MAX} producers at most.",
            active_producers=[_producer(partition, producer_id) for producer_id in is_open],
        )
    producers = [_producer(partition, producer_id) for producer_id in partition.producers]
    return PartitionResponse(partition_index=index, error_code=ErrorCode.NONE, active_producers=producers)


def _producer(partition: Partition, producer_id: int) -> ProducerState:
    window = unpack(partition.producers[producer_id])
    return ProducerState(
        producer_id=producer_id,
        producer_epoch=window.epoch,
        last_sequence=window.last_sequence,
        last_timestamp=window.last_timestamp,
        coordinator_epoch=NO_COORDINATOR_EPOCH,
        current_txn_start_offset=partition.open_transactions.get(producer_id, -1),
    )
