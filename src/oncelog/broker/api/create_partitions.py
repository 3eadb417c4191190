"""CreatePartitions (key 37, v0-3): let topics have more partitions than now.

Errors per topic: UNKNOWN_TOPIC_OR_PARTITION, INVALID_PARTITIONS, INVALID_REPLICA_ASSIGNMENT, INVALID_REQUEST
for one that is named twice, POLICY_VIOLATION, INVALID_TOPIC_EXCEPTION for internal ones.
"""

from __future__ import annotations

from collections import Counter

from oncelog.broker.api._admin import brief, view_refusal
from oncelog.broker.context import Context
from oncelog.broker.registry import Api
from oncelog.machine.commands import AdminReply, CreatePartitions
from oncelog.wire.errors import ErrorCode
from oncelog.wire.messages.create_partitions import (
    CreatePartitionsRequest,
    CreatePartitionsResponse,
    CreatePartitionsTopic,
    CreatePartitionsTopicResult,
)

API = Api(request=CreatePartitionsRequest, response=CreatePartitionsResponse)


def handle(context: Context, request: CreatePartitionsRequest) -> CreatePartitionsResponse:
    """Grow (or only check) one topic after the other."""
    counts = Counter(topic.name for topic in request.topics)
    response = CreatePartitionsResponse(results=[])
    for topic in {topic.name: topic for topic in request.topics}.values():
        if counts[topic.name] > 1:
            reply = AdminReply(ErrorCode.INVALID_REQUEST, "Duplicate topic name.")
        else:
            reply = _create(context, topic, request.validate_only)
        response.results.append(
            CreatePartitionsTopicResult(
                name=topic.name, error_code=reply.error, error_message=brief(reply.message)
            )
        )
    return response


def _create(context: Context, topic: CreatePartitionsTopic, validate_only: bool) -> AdminReply:
    if context.broker.state.internal.named(topic.name) is not None:
        return view_refusal(topic.name)
    topic_id = context.broker.state.topic_ids.get(topic.name)
    if topic_id is None:
        return AdminReply(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
    assignments = None
    if topic.assignments is not None:
        assignments = tuple(tuple(assignment.broker_ids) for assignment in topic.assignments)
    reply: AdminReply = context.broker.engine.execute(
        CreatePartitions(topic_id, topic.count, assignments, validate_only)
    )
    return reply
