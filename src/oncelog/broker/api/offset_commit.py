"""OffsetCommit (key 8, v2-10): a group's next offsets, outside of any transaction.

Versions: v2-4 may carry a retention time; v10 names topics by id.
Errors per partition: UNKNOWN_TOPIC_OR_PARTITION, UNKNOWN_TOPIC_ID, OFFSET_METADATA_TOO_LARGE; for all
alike: UNKNOWN_MEMBER_ID, FENCED_INSTANCE_ID, ILLEGAL_GENERATION, REBALANCE_IN_PROGRESS, GROUP_ID_NOT_FOUND
(v9 on), INVALID_COMMIT_OFFSET_SIZE for too many partitions in a group, COORDINATOR_LOAD_IN_PROGRESS for
too many groups.
"""

from __future__ import annotations

from oncelog.broker.api._offsets import commit
from oncelog.broker.context import Context
from oncelog.broker.registry import Api
from oncelog.machine.commands import CommitOffsets, OffsetToCommit
from oncelog.wire.errors import ErrorCode
from oncelog.wire.messages.offset_commit import (
    OffsetCommitRequest,
    OffsetCommitResponse,
    OffsetCommitResponsePartition,
    OffsetCommitResponseTopic,
)

API = Api(request=OffsetCommitRequest, response=OffsetCommitResponse)

FIRST_VERSION_WITH_TOPIC_IDS = 10


def handle(context: Context, request: OffsetCommitRequest) -> OffsetCommitResponse:
    """Commit the offsets of the partitions that exist."""

    def execute(offsets: tuple[OffsetToCommit, ...]) -> tuple[ErrorCode, ...]:
        command = CommitOffsets(
            request.group_id,
            request.generation_id_or_member_epoch,
            request.member_id,
            request.group_instance_id,
            context.version,
            request.retention_time_ms,
            offsets,
        )
        return context.broker.groups.commit_offsets(command).errors

    is_by_id = context.version >= FIRST_VERSION_WITH_TOPIC_IDS
    rows = commit(context.broker.state, request.topics, execute, is_by_id=is_by_id)
    return OffsetCommitResponse(
        topics=[
            OffsetCommitResponseTopic(
                name=topic.name,
                topic_id=topic.topic_id,
                partitions=[
                    OffsetCommitResponsePartition(partition_index=partition.partition_index, error_code=error)
                    for partition, error in zip(topic.partitions, errors, strict=True)
                ],
            )
            for topic, errors in zip(request.topics, rows, strict=True)
        ]
    )
