"""CreateTopics (key 19, v2-7): create topics, each by itself; what one is refused for stops no other.

Errors per topic: INVALID_REQUEST, INVALID_TOPIC_EXCEPTION, TOPIC_ALREADY_EXISTS, INVALID_PARTITIONS,
INVALID_REPLICATION_FACTOR, INVALID_REPLICA_ASSIGNMENT, INVALID_CONFIG, POLICY_VIOLATION.
"""

from __future__ import annotations

from collections import Counter

from oncelog.broker.api._admin import brief
from oncelog.broker.context import Context
from oncelog.broker.registry import Api
from oncelog.machine.commands import CreateTopic, CreateTopicReply
from oncelog.machine.config_table import TOPIC_CONFIGS
from oncelog.machine.configs import describe_topic_config
from oncelog.wire.errors import ErrorCode
from oncelog.wire.messages.create_topics import (
    CreatableTopic,
    CreatableTopicConfigs,
    CreatableTopicResult,
    CreateTopicsRequest,
    CreateTopicsResponse,
)

API = Api(request=CreateTopicsRequest, response=CreateTopicsResponse)

REPLICATION_FACTOR = 1
TOO_MANY = "Excessively large number of partitions per request."


def handle(context: Context, request: CreateTopicsRequest) -> CreateTopicsResponse:
    """Create (or only check) one topic after the other; a name that comes twice creates nothing."""
    counts = Counter(topic.name for topic in request.topics)
    asked = sum(_partitions_asked(context, topic) for topic in request.topics)
    is_excessive = asked > context.broker.state.limits.partitions_per_request_max
    response = CreateTopicsResponse(topics=[])
    for topic in {topic.name: topic for topic in request.topics}.values():
        if is_excessive:
            result = _refused(topic.name, ErrorCode.POLICY_VIOLATION, TOO_MANY)
        elif counts[topic.name] > 1:
            result = _refused(topic.name, ErrorCode.INVALID_REQUEST, "Duplicate topic name.")
        else:
            result = _create(context, topic, request.validate_only)
        response.topics.append(result)
    return response


def _partitions_asked(context: Context, topic: CreatableTopic) -> int:
    if topic.assignments:
        return len(topic.assignments)
    return (
        context.broker.options.num_partitions if topic.num_partitions == -1 else max(topic.num_partitions, 0)
    )


def _create(context: Context, topic: CreatableTopic, validate_only: bool) -> CreatableTopicResult:
    configs: dict[str, str] = {}
    for config in topic.configs:
        if config.value is None:
            message = f"Null value not supported for topic configs: {config.name}"
            return _refused(topic.name, ErrorCode.INVALID_CONFIG, message)
        configs[config.name] = config.value
    partition_count = topic.num_partitions
    if partition_count == -1 and not topic.assignments:
        partition_count = context.broker.options.num_partitions
    topic_id = context.broker.random_uuid()
    reply: CreateTopicReply = context.broker.engine.execute(
        CreateTopic(
            topic_id,
            topic.name,
            partition_count,
            topic.replication_factor,
            tuple((each.partition_index, tuple(each.broker_ids)) for each in topic.assignments),
            tuple(configs.items()),
            validate_only,
        )
    )
    if reply.error:
        return _refused(topic.name, reply.error, reply.message)
    if not validate_only:
        context.broker.warn_of_configs(list(configs))
    return CreatableTopicResult(
        name=topic.name,
        topic_id=topic_id,
        error_code=ErrorCode.NONE,
        error_message=None,
        num_partitions=reply.partition_count,
        replication_factor=REPLICATION_FACTOR,
        configs=_described(context, configs),
    )


def _described(context: Context, configs: dict[str, str]) -> list[CreatableTopicConfigs]:
    described = (
        describe_topic_config(name, configs, context.broker.state.broker_configs) for name in TOPIC_CONFIGS
    )
    return [
        CreatableTopicConfigs(name=each.config.name, value=each.value, config_source=each.source)
        for each in described
    ]


def _refused(name: str, error: ErrorCode, message: str | None) -> CreatableTopicResult:
    return CreatableTopicResult(name=name, error_code=error, error_message=brief(message), configs=[])
