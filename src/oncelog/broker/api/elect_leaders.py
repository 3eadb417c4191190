"""ElectLeaders (key 43, v0-2): each partition is led by its one replica already (KIP-183, KIP-460).

Partitions are given no messages, which clients make up for: quoted names would grow the answer far beyond the
request. Errors: INVALID_REQUEST for an unknown kind of election; per partition ELECTION_NOT_NEEDED,
UNKNOWN_TOPIC_OR_PARTITION.
"""

from __future__ import annotations

from oncelog.broker.context import Context
from oncelog.broker.registry import Api
from oncelog.wire.errors import ErrorCode
from oncelog.wire.messages.elect_leaders import (
    ElectLeadersRequest,
    ElectLeadersResponse,
    PartitionResult,
    ReplicaElectionResult,
)

API = Api(request=ElectLeadersRequest, response=ElectLeadersResponse)

PREFERRED, UNCLEAN = 0, 1


def handle(context: Context, request: ElectLeadersRequest) -> ElectLeadersResponse:
    """No election takes place. Asked for all partitions, Kafka names only those that needed one."""
    state = context.broker.state
    is_known_kind = request.election_type in (PREFERRED, UNCLEAN)
    response = ElectLeadersResponse(
        error_code=ErrorCode.NONE if is_known_kind else ErrorCode.INVALID_REQUEST,
        replica_election_results=[],
    )
    if request.topic_partitions is None:
        if is_known_kind:
            response.replica_election_results = [
                ReplicaElectionResult(topic=topic.name, partition_result=[])
                for topic in state.listed_topics()
            ]
        return response
    for asked in request.topic_partitions:
        topic = state.shown_topic_named(asked.topic)
        count = 0 if topic is None else len(topic.partitions)
        results = []
        for index in asked.partitions:
            error = ErrorCode.INVALID_REQUEST
            if is_known_kind:
                is_there = 0 <= index < count
                error = ErrorCode.ELECTION_NOT_NEEDED if is_there else ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
            results.append(PartitionResult(partition_id=index, error_code=error, error_message=None))
        response.replica_election_results.append(
            ReplicaElectionResult(topic=asked.topic, partition_result=results)
        )
    return response
