"""DeleteTopics (key 20, v1-6): delete topics by name, from v6 on by id too (KIP-516).

Errors per topic: UNKNOWN_TOPIC_OR_PARTITION, UNKNOWN_TOPIC_ID, INVALID_REQUEST, TOPIC_DELETION_DISABLED,
INVALID_TOPIC_EXCEPTION for internal ones.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from oncelog.broker.api._admin import brief, view_refusal
from oncelog.broker.context import Context
from oncelog.broker.registry import Api
from oncelog.machine.commands import AdminReply, DeleteTopic
from oncelog.machine.state import InternalTopic, State
from oncelog.wire.definition import ZERO_UUID
from oncelog.wire.errors import ErrorCode
from oncelog.wire.messages.delete_topics import (
    DeletableTopicResult,
    DeleteTopicsRequest,
    DeleteTopicsResponse,
    DeleteTopicState,
)

API = Api(request=DeleteTopicsRequest, response=DeleteTopicsResponse)

FIRST_VERSION_WITH_IDS = 6
FIRST_VERSION_TOLD_DISABLED = 3
NO_SUCH_TOPIC = "This server does not host this topic-partition."
NO_SUCH_TOPIC_ID = "This server does not host this topic ID."


def handle(context: Context, request: DeleteTopicsRequest) -> DeleteTopicsResponse:
    """Delete one topic after the other; one that is named twice stays."""
    if context.version >= FIRST_VERSION_WITH_IDS:
        wanted = request.topics
    else:
        wanted = [DeleteTopicState(name=name) for name in request.topic_names]
    if not context.broker.options.delete_topic_enable:
        error = ErrorCode.TOPIC_DELETION_DISABLED
        if context.version < FIRST_VERSION_TOLD_DISABLED:
            error = ErrorCode.INVALID_REQUEST
        return DeleteTopicsResponse(
            responses=[_result(each, error, "Topic deletion is disabled.") for each in wanted]
        )
    return DeleteTopicsResponse(responses=_delete_all(context, wanted))


def _delete_all(context: Context, wanted: Sequence[DeleteTopicState]) -> list[DeletableTopicResult]:
    state = context.broker.state
    results: list[DeletableTopicResult] = []
    known: list[DeleteTopicState] = []
    for each in wanted:
        is_named, has_id = each.name is not None, each.topic_id != ZERO_UUID
        if is_named == has_id:
            message = "You may not specify both topic name and topic id."
            if not is_named:
                message = "Neither topic name nor id were specified."
            results.append(_result(each, ErrorCode.INVALID_REQUEST, message))
        else:
            known.append(each)
    counts = Counter((each.name, each.topic_id) for each in known)
    ids = Counter(_id_of(state, each) for each in known)
    for name, given_id in counts:
        each = DeleteTopicState(name=name, topic_id=given_id)
        topic_id = _id_of(state, each)
        if counts[name, given_id] > 1:
            message = f"Duplicate topic {'id' if name is None else 'name'}."
            results.append(_result(each, ErrorCode.INVALID_REQUEST, message))
        elif topic_id is None:
            results.append(_result(each, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, NO_SUCH_TOPIC))
        elif ids[topic_id] > 1:
            message = "The provided topic name maps to an ID that was already supplied."
            results.append(_result(each, ErrorCode.INVALID_REQUEST, message))
        else:
            results.append(_delete(context, each, topic_id))
    return results


def _id_of(state: State, each: DeleteTopicState) -> bytes | None:
    if each.name is None:
        return each.topic_id
    topic = state.shown_topic_named(each.name)
    return None if topic is None else topic.id


def _delete(context: Context, each: DeleteTopicState, topic_id: bytes) -> DeletableTopicResult:
    topic = context.broker.state.shown_topic(topic_id)
    if topic is None:
        return _result(each, ErrorCode.UNKNOWN_TOPIC_ID, NO_SUCH_TOPIC_ID)
    if isinstance(topic, InternalTopic):
        return _result(each, *view_refusal(topic.name))
    reply: AdminReply = context.broker.engine.execute(DeleteTopic(topic_id))
    each = DeleteTopicState(name=topic.name, topic_id=topic_id)
    return _result(each, reply.error, reply.message)


def _result(each: DeleteTopicState, error: ErrorCode, message: str | None) -> DeletableTopicResult:
    return DeletableTopicResult(
        name=each.name, topic_id=each.topic_id, error_code=error, error_message=brief(message)
    )
