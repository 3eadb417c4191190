"""OffsetForLeaderEpoch (key 23, v2-4): where the records of a leader epoch end.

One broker leads every partition in one epoch, so the answer is the log end or nothing. Errors per
partition: UNKNOWN_TOPIC_OR_PARTITION, FENCED_LEADER_EPOCH and UNKNOWN_LEADER_EPOCH for the epoch that the
client believes in.
"""

from __future__ import annotations

from oncelog.broker.context import Context
from oncelog.broker.registry import Api
from oncelog.store.level0 import LEADER_EPOCH
from oncelog.wire.errors import ErrorCode
from oncelog.wire.messages.offset_for_leader_epoch import (
    EpochEndOffset,
    OffsetForLeaderEpochRequest,
    OffsetForLeaderEpochResponse,
    OffsetForLeaderPartition,
    OffsetForLeaderTopicResult,
)

API = Api(request=OffsetForLeaderEpochRequest, response=OffsetForLeaderEpochResponse)


def handle(context: Context, request: OffsetForLeaderEpochRequest) -> OffsetForLeaderEpochResponse:
    """Answer each partition from the state."""
    return OffsetForLeaderEpochResponse(
        topics=[
            OffsetForLeaderTopicResult(
                topic=topic.topic,
                partitions=[_end_offset(context, topic.topic, wanted) for wanted in topic.partitions],
            )
            for topic in request.topics
        ]
    )


def _end_offset(context: Context, name: str, wanted: OffsetForLeaderPartition) -> EpochEndOffset:
    answer = EpochEndOffset(
        partition=wanted.partition, error_code=ErrorCode.NONE, leader_epoch=-1, end_offset=-1
    )
    topic = context.broker.state.shown_topic_named(name)
    if topic is None or not 0 <= wanted.partition < len(topic.partitions):
        answer.error_code = ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    elif wanted.current_leader_epoch not in (-1, LEADER_EPOCH):
        is_newer = wanted.current_leader_epoch > LEADER_EPOCH
        answer.error_code = ErrorCode.UNKNOWN_LEADER_EPOCH if is_newer else ErrorCode.FENCED_LEADER_EPOCH
    elif wanted.leader_epoch == LEADER_EPOCH:
        answer.leader_epoch = LEADER_EPOCH
        answer.end_offset = topic.partitions[wanted.partition].log_end_offset
    return answer
