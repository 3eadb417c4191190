"""OffsetForLeaderEpoch (key 23): request and response."""

from __future__ import annotations

from oncelog.wire.definition import Message, Struct, array, field, int16, int32, int64, string


class OffsetForLeaderPartition(Struct):
    """One of the `partitions` of OffsetForLeaderTopic."""

    partition: int = field(int32)
    current_leader_epoch: int = field(int32, versions="2+", default=-1, ignorable=True)
    leader_epoch: int = field(int32)


class OffsetForLeaderTopic(Struct):
    """One of the `topics` of OffsetForLeaderEpochRequest."""

    topic: str = field(string)
    partitions: list[OffsetForLeaderPartition] = field(array(OffsetForLeaderPartition))


class OffsetForLeaderEpochRequest(Message, api_key=23, versions="2-4", flexible="4+"):
    replica_id: int = field(int32, versions="3+", default=-2, ignorable=True)
    topics: list[OffsetForLeaderTopic] = field(array(OffsetForLeaderTopic))


class EpochEndOffset(Struct):
    """One of the `partitions` of OffsetForLeaderTopicResult."""

    error_code: int = field(int16)
    partition: int = field(int32)
    leader_epoch: int = field(int32, versions="1+", default=-1, ignorable=True)
    end_offset: int = field(int64, default=-1)


class OffsetForLeaderTopicResult(Struct):
    """One of the `topics` of OffsetForLeaderEpochResponse."""

    topic: str = field(string)
    partitions: list[EpochEndOffset] = field(array(EpochEndOffset))


class OffsetForLeaderEpochResponse(Message, api_key=23, versions="2-4", flexible="4+"):
    throttle_time_ms: int = field(int32, versions="2+", ignorable=True)
    topics: list[OffsetForLeaderTopicResult] = field(array(OffsetForLeaderTopicResult))
