"""DescribeTopicPartitions (key 75, v0): topics by name, a page of partitions at a time (KIP-966).

Topics come in the order of their names. A page holds at most as many partitions as asked, and no more than
Kafka's max.request.partition.size.limit; the cursor tells where the next one begins.
Errors per topic: UNKNOWN_TOPIC_OR_PARTITION, INVALID_TOPIC_EXCEPTION; for all of them: INVALID_REQUEST.
"""

from __future__ import annotations

from oncelog.broker.api._admin import TOPIC_OPERATIONS
from oncelog.broker.context import Context
from oncelog.broker.registry import Api
from oncelog.machine.state import Partition
from oncelog.machine.topics import INTERNAL_TOPICS, topic_name_error
from oncelog.wire.errors import ErrorCode
from oncelog.wire.messages.describe_topic_partitions import (
    Cursor,
    DescribeTopicPartitionsRequest,
    DescribeTopicPartitionsResponse,
    DescribeTopicPartitionsResponsePartition,
    DescribeTopicPartitionsResponseTopic,
)

API = Api(request=DescribeTopicPartitionsRequest, response=DescribeTopicPartitionsResponse)

PARTITIONS_MAX = 2000


def handle(context: Context, request: DescribeTopicPartitionsRequest) -> DescribeTopicPartitionsResponse:
    """The page that begins at the cursor."""
    cursor = request.cursor
    asked = {topic.name for topic in request.topics}
    first_name = "" if cursor is None else cursor.topic_name
    listed = asked or {topic.name for topic in context.broker.state.listed_topics()}
    names = sorted(name for name in listed if name >= first_name)
    if cursor is not None and (cursor.partition_index < 0 or (asked and cursor.topic_name not in asked)):
        return DescribeTopicPartitionsResponse(
            topics=[
                DescribeTopicPartitionsResponseTopic(
                    error_code=ErrorCode.INVALID_REQUEST, name=name, partitions=[]
                )
                for name in sorted(asked)
            ]
        )
    remaining = max(1, min(request.response_partition_limit, PARTITIONS_MAX))
    response = DescribeTopicPartitionsResponse(topics=[])
    for name in names:
        if remaining == 0:
            response.next_cursor = Cursor(topic_name=name, partition_index=0)
            break
        first = cursor.partition_index if cursor is not None and name == cursor.topic_name else 0
        topic, count = _describe(context, name, first, remaining)
        response.topics.append(topic)
        remaining -= len(topic.partitions)
        if first + len(topic.partitions) < count:
            response.next_cursor = Cursor(topic_name=name, partition_index=first + len(topic.partitions))
            break
    return response


def _describe(
    context: Context, name: str, first: int, limit: int
) -> tuple[DescribeTopicPartitionsResponseTopic, int]:
    """A topic with at most `limit` partitions from `first` on, and how many it has."""
    topic = context.broker.state.shown_topic_named(name)
    described = DescribeTopicPartitionsResponseTopic(
        name=name,
        is_internal=name in INTERNAL_TOPICS,
        partitions=[],
        topic_authorized_operations=TOPIC_OPERATIONS,
    )
    if topic is None:
        described.error_code = ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
        if topic_name_error(name) is not None:
            described.error_code = ErrorCode.INVALID_TOPIC_EXCEPTION
        return described, 0
    described.topic_id = topic.id
    node_id = context.broker.node_id
    described.partitions = [
        _partition(partition, node_id) for partition in topic.partitions[first : first + limit]
    ]
    return described, len(topic.partitions)


def _partition(partition: Partition, node_id: int) -> DescribeTopicPartitionsResponsePartition:
    return DescribeTopicPartitionsResponsePartition(
        partition_index=partition.index,
        leader_id=node_id,
        leader_epoch=partition.leader_epoch,
        replica_nodes=[node_id],
        isr_nodes=[node_id],
        eligible_leader_replicas=[],
        last_known_elr=[],
        offline_replicas=[],
    )
