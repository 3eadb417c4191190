"""OffsetDelete (key 47, v0): forget committed offsets of a group (KIP-496).

Errors: INVALID_GROUP_ID, GROUP_ID_NOT_FOUND, NON_EMPTY_GROUP for a group of members that are not
consumers; per partition: UNKNOWN_TOPIC_OR_PARTITION, GROUP_SUBSCRIBED_TO_TOPIC.
"""

from __future__ import annotations

from oncelog.broker.context import Context
from oncelog.broker.registry import Api
from oncelog.machine.commands import DeleteOffsets
from oncelog.wire.errors import ErrorCode
from oncelog.wire.messages.offset_delete import (
    OffsetDeleteRequest,
    OffsetDeleteResponse,
    OffsetDeleteResponsePartition,
    OffsetDeleteResponseTopic,
)

API = Api(request=OffsetDeleteRequest, response=OffsetDeleteResponse)


def handle(context: Context, request: OffsetDeleteRequest) -> OffsetDeleteResponse:
    """Forget the offsets of the partitions that exist."""
    if not request.group_id:
        return OffsetDeleteResponse(error_code=ErrorCode.INVALID_GROUP_ID)
    state = context.broker.state
    partitions: list[tuple[bytes, int]] = []
    response = OffsetDeleteResponse(topics=[])
    answers: list[OffsetDeleteResponsePartition] = []
    for asked in request.topics:
        topic = state.shown_topic_named(asked.name)
        of_topic = OffsetDeleteResponseTopic(name=asked.name, partitions=[])
        response.topics.append(of_topic)
        for partition in asked.partitions:
            answer = OffsetDeleteResponsePartition(partition_index=partition.partition_index)
            of_topic.partitions.append(answer)
            if topic is None or not 0 <= partition.partition_index < len(topic.partitions):
                answer.error_code = ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
            else:
                partitions.append((topic.id, partition.partition_index))
                answers.append(answer)
    reply = context.broker.groups.delete_offsets(DeleteOffsets(request.group_id, tuple(partitions)))
    if reply.error:
        return OffsetDeleteResponse(error_code=reply.error)
    for answer, error in zip(answers, reply.partition_errors, strict=True):
        answer.error_code = error
    return response
