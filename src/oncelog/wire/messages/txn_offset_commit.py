"""TxnOffsetCommit (key 28): request and response."""

from __future__ import annotations

from oncelog.wire.definition import Message, Struct, array, field, int16, int32, int64, string, uuid


class TxnOffsetCommitRequestPartition(Struct):
    """One of the `partitions` of TxnOffsetCommitRequestTopic."""

    partition_index: int = field(int32)
    committed_offset: int = field(int64)
    committed_leader_epoch: int = field(int32, versions="2+", default=-1, ignorable=True)
    committed_metadata: str | None = field(string, nullable="0+")


class TxnOffsetCommitRequestTopic(Struct):
    """One of the `topics` of TxnOffsetCommitRequest."""

    name: str = field(string, versions="0-5", ignorable=True)
    topic_id: bytes = field(uuid, versions="6+", ignorable=True)
    partitions: list[TxnOffsetCommitRequestPartition] = field(array(TxnOffsetCommitRequestPartition))


class TxnOffsetCommitRequest(Message, api_key=28, versions="0-5", flexible="3+"):
    transactional_id: str = field(string)
    group_id: str = field(string)
    producer_id: int = field(int64)
    producer_epoch: int = field(int16)
    generation_id_or_member_epoch: int = field(int32, versions="3+", default=-1)
    member_id: str = field(string, versions="3+", default="")
    group_instance_id: str | None = field(string, versions="3+", nullable="3+", default=None)
    topics: list[TxnOffsetCommitRequestTopic] = field(array(TxnOffsetCommitRequestTopic))


class TxnOffsetCommitResponsePartition(Struct):
    """One of the `partitions` of TxnOffsetCommitResponseTopic."""

    partition_index: int = field(int32)
    error_code: int = field(int16)


class TxnOffsetCommitResponseTopic(Struct):
    """One of the `topics` of TxnOffsetCommitResponse."""

    name: str = field(string, versions="0-5", ignorable=True)
    topic_id: bytes = field(uuid, versions="6+", ignorable=True)
    partitions: list[TxnOffsetCommitResponsePartition] = field(array(TxnOffsetCommitResponsePartition))


class TxnOffsetCommitResponse(Message, api_key=28, versions="0-5", flexible="3+"):
    throttle_time_ms: int = field(int32)
    topics: list[TxnOffsetCommitResponseTopic] = field(array(TxnOffsetCommitResponseTopic))
