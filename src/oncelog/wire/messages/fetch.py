"""Fetch (key 1): request and response."""

from __future__ import annotations

from oncelog.wire import codec, tuned
from oncelog.wire.definition import (
    Message,
    Struct,
    array,
    field,
    int8,
    int16,
    int32,
    int64,
    records,
    string,
    uuid,
)


class ReplicaState(Struct):
    """The `replica_state` of FetchRequest."""

    replica_id: int = field(int32, versions="15+", default=-1)
    replica_epoch: int = field(int64, versions="15+", default=-1)


class FetchPartition(Struct):
    """One of the `partitions` of FetchTopic."""

    partition: int = field(int32)
    current_leader_epoch: int = field(int32, versions="9+", default=-1, ignorable=True)
    fetch_offset: int = field(int64)
    last_fetched_epoch: int = field(int32, versions="12+", default=-1)
    log_start_offset: int = field(int64, versions="5+", default=-1, ignorable=True)
    partition_max_bytes: int = field(int32)
    replica_directory_id: bytes = field(uuid, versions="17+", tag=0, tagged="17+", ignorable=True)
    high_watermark: int = field(
        int64, versions="18+", default=9223372036854775807, tag=1, tagged="18+", ignorable=True
    )


class FetchTopic(Struct):
    """One of the `topics` of FetchRequest."""

    topic: str = field(string, versions="0-12", ignorable=True)
    topic_id: bytes = field(uuid, versions="13+", ignorable=True)
    partitions: list[FetchPartition] = field(array(FetchPartition))


class ForgottenTopic(Struct):
    """One of the `forgotten_topics_data` of FetchRequest."""

    topic: str = field(string, versions="7-12", ignorable=True)
    topic_id: bytes = field(uuid, versions="13+", ignorable=True)
    partitions: list[int] = field(array(int32), versions="7+")


class FetchRequest(Message, api_key=1, versions="4-18", flexible="12+"):
    cluster_id: str | None = field(
        string, versions="12+", nullable="12+", default=None, tag=0, tagged="12+", ignorable=True
    )
    replica_id: int = field(int32, versions="0-14", default=-1)
    replica_state: ReplicaState = field(ReplicaState, versions="15+", tag=1, tagged="15+")
    max_wait_ms: int = field(int32)
    min_bytes: int = field(int32)
    max_bytes: int = field(int32, versions="3+", default=2147483647, ignorable=True)
    isolation_level: int = field(int8, versions="4+", ignorable=True)
    session_id: int = field(int32, versions="7+", ignorable=True)
    session_epoch: int = field(int32, versions="7+", default=-1, ignorable=True)
    topics: list[FetchTopic] = field(array(FetchTopic))
    forgotten_topics_data: list[ForgottenTopic] = field(array(ForgottenTopic), versions="7+")
    rack_id: str = field(string, versions="11+", default="", ignorable=True)


class EpochEndOffset(Struct):
    """The `diverging_epoch` of PartitionData."""

    epoch: int = field(int32, versions="12+", default=-1)
    end_offset: int = field(int64, versions="12+", default=-1)


class LeaderIdAndEpoch(Struct):
    """The `current_leader` of PartitionData."""

    leader_id: int = field(int32, versions="12+", default=-1)
    leader_epoch: int = field(int32, versions="12+", default=-1)


class SnapshotId(Struct):
    """The `snapshot_id` of PartitionData."""

    end_offset: int = field(int64, default=-1)
    epoch: int = field(int32, default=-1)


class AbortedTransaction(Struct):
    """One of the `aborted_transactions` of PartitionData."""

    producer_id: int = field(int64, versions="4+")
    first_offset: int = field(int64, versions="4+")


class PartitionData(Struct):
    """One of the `partitions` of FetchableTopicResponse."""

    partition_index: int = field(int32)
    error_code: int = field(int16)
    high_watermark: int = field(int64)
    last_stable_offset: int = field(int64, versions="4+", default=-1, ignorable=True)
    log_start_offset: int = field(int64, versions="5+", default=-1, ignorable=True)
    diverging_epoch: EpochEndOffset = field(EpochEndOffset, versions="12+", tag=0, tagged="12+")
    current_leader: LeaderIdAndEpoch = field(LeaderIdAndEpoch, versions="12+", tag=1, tagged="12+")
    snapshot_id: SnapshotId = field(SnapshotId, versions="12+", tag=2, tagged="12+")
    aborted_transactions: list[AbortedTransaction] | None = field(
        array(AbortedTransaction), versions="4+", nullable="4+", ignorable=True
    )
    preferred_read_replica: int = field(int32, versions="11+", default=-1)
    records: bytes | memoryview | None = field(records, nullable="0+")


class FetchableTopicResponse(Struct):
    """One of the `responses` of FetchResponse."""

    topic: str = field(string, versions="0-12", ignorable=True)
    topic_id: bytes = field(uuid, versions="13+", ignorable=True)
    partitions: list[PartitionData] = field(array(PartitionData))


class NodeEndpoint(Struct):
    """One of the `node_endpoints` of FetchResponse."""

    node_id: int = field(int32, versions="16+")
    host: str = field(string, versions="16+")
    port: int = field(int32, versions="16+")
    rack: str | None = field(string, versions="16+", nullable="16+", default=None)


class FetchResponse(Message, api_key=1, versions="4-18", flexible="12+"):
    throttle_time_ms: int = field(int32, versions="1+", ignorable=True)
    error_code: int = field(int16, versions="7+", ignorable=True)
    session_id: int = field(int32, versions="7+")
    responses: list[FetchableTopicResponse] = field(array(FetchableTopicResponse))
    node_endpoints: list[NodeEndpoint] = field(array(NodeEndpoint), versions="16+", tag=0, tagged="16+")


def _plain_partition(version: int) -> tuned.Encode:
    flexible = FetchResponse.is_flexible(version)
    return codec.encoder(PartitionData, version, flexible, flexible)


FetchRequest.tuned_decoder = tuned.fetch_request_decoder(
    FetchRequest, FetchTopic, FetchPartition, ReplicaState
)
FetchResponse.tuned_encoder = tuned.fetch_response_encoder(_plain_partition)
