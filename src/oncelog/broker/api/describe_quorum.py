"""DescribeQuorum (key 55, v0-2): a quorum of one voter, which is this broker, over its journal (KIP-595).

What Kafka keeps in the partition __cluster_metadata-0 is in the journal here, with everything else; its
offsets are the journal's positions, so both ends lie behind the newest entry that the answer waits for. The
voter has no directory id. Errors per partition: UNKNOWN_TOPIC_OR_PARTITION for any other question.
"""

from __future__ import annotations

from oncelog.broker.context import Context
from oncelog.broker.registry import Api
from oncelog.store.level0 import LEADER_EPOCH
from oncelog.wire.definition import ZERO_UUID
from oncelog.wire.errors import ErrorCode
from oncelog.wire.messages.describe_quorum import (
    DescribeQuorumRequest,
    DescribeQuorumResponse,
    Listener,
    Node,
    ReplicaState,
    ResponsePartitionData,
    ResponseTopicData,
)

API = Api(request=DescribeQuorumRequest, response=DescribeQuorumResponse)

METADATA_TOPIC = "__cluster_metadata"
FIRST_VERSION_WITH_NODES = 2


def handle(context: Context, request: DescribeQuorumRequest) -> DescribeQuorumResponse:
    """Describe the one partition, or refuse all that are asked for when it is not the only one."""
    asked = [
        (topic.topic_name, [each.partition_index for each in topic.partitions]) for topic in request.topics
    ]
    response = DescribeQuorumResponse(error_code=ErrorCode.NONE, error_message=None, topics=[], nodes=[])
    if asked != [(METADATA_TOPIC, [0])]:
        response.topics = [
            ResponseTopicData(topic_name=name, partitions=[_refused(index) for index in indexes])
            for name, indexes in asked
        ]
        return response
    response.topics = [ResponseTopicData(topic_name=METADATA_TOPIC, partitions=[_quorum(context)])]
    if context.version >= FIRST_VERSION_WITH_NODES:
        host, port = context.connection.listener_address
        listener = Listener(name="PLAINTEXT", host=host, port=port)
        response.nodes = [Node(node_id=context.broker.node_id, listeners=[listener])]
    return response


def _quorum(context: Context) -> ResponsePartitionData:
    engine = context.broker.engine
    # A position that is durable now stays so in a restart; one that is stamped is before this answer leaves.
    end = max(engine.stamp(), engine.durable_position) + 1
    now_ms = engine.wall_ms()
    voter = ReplicaState(
        replica_id=context.broker.node_id,
        log_end_offset=end,
        last_fetch_timestamp=now_ms,
        last_caught_up_timestamp=now_ms,
    )
    if context.version >= FIRST_VERSION_WITH_NODES:
        voter.replica_directory_id = ZERO_UUID
    return ResponsePartitionData(
        partition_index=0,
        error_code=ErrorCode.NONE,
        error_message=None,
        leader_id=context.broker.node_id,
        leader_epoch=LEADER_EPOCH,
        high_watermark=end,
        current_voters=[voter],
        observers=[],
    )


def _refused(index: int) -> ResponsePartitionData:
    return ResponsePartitionData(
        partition_index=index,
        error_code=ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
        error_message=None,
        leader_id=0,
        leader_epoch=0,
        high_watermark=0,
        current_voters=[],
        observers=[],
    )
