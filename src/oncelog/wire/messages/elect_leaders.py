"""ElectLeaders (key 43): request and response."""

from __future__ import annotations

from oncelog.wire.definition import Message, Struct, array, field, int8, int16, int32, string


class TopicPartitions(Struct):
    """One of the `topic_partitions` of ElectLeadersRequest."""

    topic: str = field(string)
    partitions: list[int] = field(array(int32))


class ElectLeadersRequest(Message, api_key=43, versions="0-2", flexible="2+"):
    election_type: int = field(int8, versions="1+")
    topic_partitions: list[TopicPartitions] | None = field(array(TopicPartitions), nullable="0+")
    timeout_ms: int = field(int32, default=60000)


class PartitionResult(Struct):
    """One of the `partition_result` of ReplicaElectionResult."""

    partition_id: int = field(int32)
    error_code: int = field(int16)
    error_message: str | None = field(string, nullable="0+")


class ReplicaElectionResult(Struct):
    """One of the `replica_election_results` of ElectLeadersResponse."""

    topic: str = field(string)
    partition_result: list[PartitionResult] = field(array(PartitionResult))


class ElectLeadersResponse(Message, api_key=43, versions="0-2", flexible="2+"):
    throttle_time_ms: int = field(int32)
    error_code: int = field(int16, versions="1+")
    replica_election_results: list[ReplicaElectionResult] = field(array(ReplicaElectionResult))
