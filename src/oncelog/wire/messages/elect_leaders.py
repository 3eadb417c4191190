"""ElectLeaders (key 43): request and response."""

from __future__ import annotations

from oncelog.wire.definition import Message, Struct, array, field, int8, int16, int32, string


class TopicPartitions(Struct):
    """Topic partitions."""

    topic: str = field(string)
    partitions: list[int] = field(array(int32))


class ElectLeadersRequest(Message, api_key=43, versions="0-2", flexible="2+"):
    """ElectLeaders as a request."""

    election_type: int = field(int8, versions="1+")
    topic_partitions: list[TopicPartitions] | None = field(array(TopicPartitions), nullable="0+")
    timeout_ms: int = field(int32, default=60000)


class PartitionResult(Struct):
    """Partition result."""

    partition_id: int = field(int32)
    error_code: int = field(int16)
    error_message: str | None = field(string, nullable="0+")


class ReplicaElectionResult(Struct):
    """Replica election result."""

    topic: str = field(string)
    partition_result: list[PartitionResult] = field(array(PartitionResult))


class ElectLeadersResponse(Message, api_key=43, versions="0-2", flexible="2+"):
    """ElectLeaders as a response."""

    throttle_time_ms: int = field(int32)
    error_code: int = field(int16, versions="1+")
    replica_election_results: list[ReplicaElectionResult] = field(array(ReplicaElectionResult))
