"""Metadata (key 3, v0-13): topics by name or id (v12 on) with their leaders, and where the brokers are.

A missing topic that is asked for by name is created where client and broker allow it, and is told as missing
this once, as Kafka does: the client asks again. Answers without missing topics are kept, encoded, until an
event changes topics. Internal topics are always there for who names them, and are listed among all topics
once they have held something.
Errors per topic: UNKNOWN_TOPIC_OR_PARTITION, UNKNOWN_TOPIC_ID, INVALID_TOPIC_EXCEPTION, POLICY_VIOLATION;
INVALID_REQUEST for what a version can't ask.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from oncelog.broker.api._admin import CLUSTER_OPERATIONS, TOPIC_OPERATIONS
from oncelog.broker.context import Context
from oncelog.broker.registry import Api
from oncelog.machine.commands import CreateTopic, CreateTopicReply
from oncelog.machine.state import InternalTopic, Topic
from oncelog.machine.topics import CLUSTER_METADATA_TOPIC, INTERNAL_TOPICS, topic_name_error
from oncelog.wire.definition import ZERO_UUID, Buffer, Message, bytes_, field
from oncelog.wire.errors import ErrorCode
from oncelog.wire.messages.metadata import (
    MetadataRequest,
    MetadataResponse,
    MetadataResponseBroker,
    MetadataResponsePartition,
    MetadataResponseTopic,
)

API = Api(request=MetadataRequest, response=MetadataResponse)

FIRST_VERSION_WITH_NULL_FOR_ALL = 1
FIRST_VERSION_ASKED_TO_CREATE = 4
FIRST_VERSION_BY_ID = 12
CACHED_NAMES_MAX = 100
"""Longer questions are not kept: they would be long keys, and seldom come twice."""


class EncodedMetadataResponse(Message, api_key=3, versions="0-13", flexible="9+"):
    """A MetadataResponse whose bytes are there already."""

    body: bytes = field(bytes_)

    def encode(self, version: int) -> bytes:  # noqa: ARG002
        return self.body

    def encode_parts(self, version: int) -> list[Buffer]:  # noqa: ARG002
        return [self.body]


def handle(context: Context, request: MetadataRequest) -> Message:
    """The answer that was kept, or a new one."""
    asked = request.topics
    if asked is None or (not asked and context.version < FIRST_VERSION_WITH_NULL_FOR_ALL):
        names: tuple[str | None, ...] | None = None
        ids: tuple[bytes, ...] = ()
    else:
        names = tuple(dict.fromkeys(topic.name for topic in asked))
        ids = tuple(dict.fromkeys(topic.topic_id for topic in asked if topic.topic_id != ZERO_UUID))
        if (ids and context.version < FIRST_VERSION_BY_ID) or (not ids and None in names):
            return _invalid(request)
    version = context.broker.state.topics_version
    question = (
        context.version,
        names,
        ids,
        request.include_cluster_authorized_operations,
        request.include_topic_authorized_operations,
        context.connection.listener_address,
    )
    kept = context.broker.metadata_cache.find(question, version)
    if kept is not None:
        return EncodedMetadataResponse(body=kept)
    response = _answer(context, request, names, ids)
    if any(topic.error_code for topic in response.topics) or len(names or ids) > CACHED_NAMES_MAX:
        return response
    body = response.encode(context.version)
    context.broker.metadata_cache.keep(question, version, body)
    return EncodedMetadataResponse(body=body)


def _invalid(request: MetadataRequest) -> MetadataResponse:
    error = ErrorCode.INVALID_REQUEST
    topics = [
        MetadataResponseTopic(error_code=error, name=topic.name or "", topic_id=topic.topic_id, partitions=[])
        for topic in request.topics or []
    ]
    return MetadataResponse(brokers=[], topics=topics, error_code=error)


def _answer(
    context: Context, request: MetadataRequest, names: Sequence[str | None] | None, ids: Sequence[bytes]
) -> MetadataResponse:
    broker = context.broker
    if names is None:
        topics = [_topic(context, topic) for topic in broker.state.listed_topics()]
    elif ids:
        topics = [_topic_by_id(context, topic_id) for topic_id in ids]
    else:
        may_create = broker.options.auto_create_topics_enable and (
            context.version < FIRST_VERSION_ASKED_TO_CREATE or request.allow_auto_topic_creation
        )
        topics = _topics_by_name(context, [name for name in names if name is not None], may_create)
    host, port = context.connection.listener_address
    response = MetadataResponse(
        brokers=[MetadataResponseBroker(node_id=broker.node_id, host=host, port=port)],
        cluster_id=broker.cluster_id,
        controller_id=broker.node_id,
        topics=topics,
    )
    if request.include_cluster_authorized_operations:
        response.cluster_authorized_operations = CLUSTER_OPERATIONS
    if request.include_topic_authorized_operations:
        for topic in topics:
            topic.topic_authorized_operations = TOPIC_OPERATIONS
    return response


def _topic(context: Context, topic: Topic) -> MetadataResponseTopic:
    node_id = context.broker.node_id
    return MetadataResponseTopic(
        name=topic.name,
        topic_id=topic.id,
        is_internal=isinstance(topic, InternalTopic),
        partitions=[
            MetadataResponsePartition(
                partition_index=partition.index,
                leader_id=node_id,
                leader_epoch=partition.leader_epoch,
                replica_nodes=[node_id],
                isr_nodes=[node_id],
                offline_replicas=[],
            )
            for partition in topic.partitions
        ],
    )


def _topic_by_id(context: Context, topic_id: bytes) -> MetadataResponseTopic:
    topic = context.broker.state.shown_topic(topic_id)
    if topic is not None:
        return _topic(context, topic)
    return MetadataResponseTopic(
        error_code=ErrorCode.UNKNOWN_TOPIC_ID, name=None, topic_id=topic_id, partitions=[]
    )


def _topics_by_name(context: Context, names: Iterable[str], may_create: bool) -> list[MetadataResponseTopic]:
    """Those that are there, then those that are not, in the order asked."""
    found: list[MetadataResponseTopic] = []
    missing: list[str] = []
    for name in names:
        topic = context.broker.state.shown_topic_named(name)
        if topic is None:
            missing.append(name)
        else:
            found.append(_topic(context, topic))
    limit = context.broker.state.limits.partitions_per_request_max
    creatable = limit // context.broker.options.num_partitions if may_create else 0
    for index, name in enumerate(missing):
        found.append(
            MetadataResponseTopic(
                error_code=_missing_topic_error(context, name, index < creatable),
                name=name,
                is_internal=name in INTERNAL_TOPICS,
                partitions=[],
            )
        )
    return found


def _missing_topic_error(context: Context, name: str, may_create: bool) -> ErrorCode:
    if topic_name_error(name) is not None:
        return ErrorCode.INVALID_TOPIC_EXCEPTION
    if not may_create or name in INTERNAL_TOPICS or name == CLUSTER_METADATA_TOPIC:
        return ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    reply: CreateTopicReply = context.broker.engine.execute(
        CreateTopic(context.broker.random_uuid(), name, context.broker.options.num_partitions)
    )
    return reply.error or ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
