"""ListOffsets (key 2): request and response."""

from __future__ import annotations

from oncelog.wire.definition import Message, Struct, array, field, int8, int16, int32, int64, string


class ListOffsetsPartition(Struct):
    """One of the `partitions` of ListOffsetsTopic."""

    partition_index: int = field(int32)
    current_leader_epoch: int = field(int32, versions="4+", default=-1, ignorable=True)
    timestamp: int = field(int64)


class ListOffsetsTopic(Struct):
    """One of the `topics` of ListOffsetsRequest."""

    name: str = field(string)
    partitions: list[ListOffsetsPartition] = field(array(ListOffsetsPartition))


class ListOffsetsRequest(Message, api_key=2, versions="1-11", flexible="6+"):
    replica_id: int = field(int32)
    isolation_level: int = field(int8, versions="2+")
    topics: list[ListOffsetsTopic] = field(array(ListOffsetsTopic))
    timeout_ms: int = field(int32, versions="10+", ignorable=True)


class ListOffsetsPartitionResponse(Struct):
    """One of the `partitions` of ListOffsetsTopicResponse."""

    partition_index: int = field(int32)
    error_code: int = field(int16)
    timestamp: int = field(int64, versions="1+", default=-1)
    offset: int = field(int64, versions="1+", default=-1)
    leader_epoch: int = field(int32, versions="4+", default=-1)


class ListOffsetsTopicResponse(Struct):
    """One of the `topics` of ListOffsetsResponse."""

    name: str = field(string)
    partitions: list[ListOffsetsPartitionResponse] = field(array(ListOffsetsPartitionResponse))


class ListOffsetsResponse(Message, api_key=2, versions="1-11", flexible="6+"):
    throttle_time_ms: int = field(int32, versions="2+", ignorable=True)
    topics: list[ListOffsetsTopicResponse] = field(array(ListOffsetsTopicResponse))
