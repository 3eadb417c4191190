"""ListOffsets (key 2): request and response."""

from __future__ import annotations

from oncelog.wire.definition import Message, Struct, array, field, int8, int16, int32, int64, string


class ListOffsetsPartition(Struct):
    """List offsets partition."""

    partition_index: int = field(int32)
    current_leader_epoch: int = field(int32, versions="4+", default=-1, ignorable=True)
    timestamp: int = field(int64)


class ListOffsetsTopic(Struct):
    """List offsets topic."""

    name: str = field(string)
    partitions: list[ListOffsetsPartition] = field(array(ListOffsetsPartition))


class ListOffsetsRequest(Message, api_key=2, versions="1-11", flexible="6+"):
    """ListOffsets as a request."""

    replica_id: int = field(int32)
    isolation_level: int = field(int8, versions="2+")
    topics: list[ListOffsetsTopic] = field(array(ListOffsetsTopic))
    timeout_ms: int = field(int32, versions="10+", ignorable=True)


class ListOffsetsPartitionResponse(Struct):
    """List offsets partition response."""

    partition_index: int = field(int32)
    error_code: int = field(int16)
    timestamp: int = field(int64, versions="1+", default=-1)
    offset: int = field(int64, versions="1+", default=-1)
    leader_epoch: int = field(int32, versions="4+", default=-1)


class ListOffsetsTopicResponse(Struct):
    """List offsets topic response."""

    name: str = field(string)
    partitions: list[ListOffsetsPartitionResponse] = field(array(ListOffsetsPartitionResponse))


class ListOffsetsResponse(Message, api_key=2, versions="1-11", flexible="6+"):
    """ListOffsets as a response."""

    throttle_time_ms: int = field(int32, versions="2+", ignorable=True)
    topics: list[ListOffsetsTopicResponse] = field(array(ListOffsetsTopicResponse))
