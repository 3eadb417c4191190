"""DescribeQuorum (key 55): request and response."""

from __future__ import annotations

from oncelog.wire.definition import Message, Struct, array, field, int16, int32, int64, string, uint16, uuid


class PartitionData(Struct):
    """One of the `partitions` of TopicData."""

    partition_index: int = field(int32)


class TopicData(Struct):
    """One of the `topics` of DescribeQuorumRequest."""

    topic_name: str = field(string)
    partitions: list[PartitionData] = field(array(PartitionData))


class DescribeQuorumRequest(Message, api_key=55, versions="0-2", flexible="0+"):
    topics: list[TopicData] = field(array(TopicData))


class ReplicaState(Struct):
    """One of `ResponsePartitionData.current_voters` and `ResponsePartitionData.observers`."""

    replica_id: int = field(int32)
    replica_directory_id: bytes = field(uuid, versions="2+")
    log_end_offset: int = field(int64)
    last_fetch_timestamp: int = field(int64, versions="1+", default=-1, ignorable=True)
    last_caught_up_timestamp: int = field(int64, versions="1+", default=-1, ignorable=True)


class ResponsePartitionData(Struct):
    """One of the `partitions` of ResponseTopicData."""

    partition_index: int = field(int32)
    error_code: int = field(int16)
    error_message: str | None = field(string, versions="2+", nullable="2+", ignorable=True)
    leader_id: int = field(int32)
    leader_epoch: int = field(int32)
    high_watermark: int = field(int64)
    current_voters: list[ReplicaState] = field(array(ReplicaState))
    observers: list[ReplicaState] = field(array(ReplicaState))


class ResponseTopicData(Struct):
    """One of the `topics` of DescribeQuorumResponse."""

    topic_name: str = field(string)
    partitions: list[ResponsePartitionData] = field(array(ResponsePartitionData))


class Listener(Struct):
    """One of the `listeners` of Node."""

    name: str = field(string, versions="2+")
    host: str = field(string, versions="2+")
    port: int = field(uint16, versions="2+")


class Node(Struct):
    """One of the `nodes` of DescribeQuorumResponse."""

    node_id: int = field(int32, versions="2+")
    listeners: list[Listener] = field(array(Listener), versions="2+")


class DescribeQuorumResponse(Message, api_key=55, versions="0-2", flexible="0+"):
    error_code: int = field(int16)
    error_message: str | None = field(string, versions="2+", nullable="2+", ignorable=True)
    topics: list[ResponseTopicData] = field(array(ResponseTopicData))
    nodes: list[Node] = field(array(Node), versions="2+")
