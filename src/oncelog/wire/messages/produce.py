"""Produce (key 0): request and response."""

from __future__ import annotations

from oncelog.wire import codec, tuned
from oncelog.wire.definition import Message, Struct, array, field, int16, int32, int64, records, string, uuid


class PartitionProduceData(Struct):
    """One of the `partition_data` of TopicProduceData."""

    index: int = field(int32)
    records: bytes | memoryview | None = field(records, nullable="0+")


class TopicProduceData(Struct):
    """One of the `topic_data` of ProduceRequest."""

    name: str = field(string, versions="0-12", ignorable=True)
    topic_id: bytes = field(uuid, versions="13+", ignorable=True)
    partition_data: list[PartitionProduceData] = field(array(PartitionProduceData))


class ProduceRequest(Message, api_key=0, versions="3-13", flexible="9+"):
    transactional_id: str | None = field(string, versions="3+", nullable="3+", default=None)
    acks: int = field(int16)
    timeout_ms: int = field(int32)
    topic_data: list[TopicProduceData] = field(array(TopicProduceData))


class BatchIndexAndErrorMessage(Struct):
    """One of the `record_errors` of PartitionProduceResponse."""

    batch_index: int = field(int32, versions="8+")
    batch_index_error_message: str | None = field(string, versions="8+", nullable="8+", default=None)


class LeaderIdAndEpoch(Struct):
    """The `current_leader` of PartitionProduceResponse."""

    leader_id: int = field(int32, versions="10+", default=-1)
    leader_epoch: int = field(int32, versions="10+", default=-1)


class PartitionProduceResponse(Struct):
    """One of the `partition_responses` of TopicProduceResponse."""

    index: int = field(int32)
    error_code: int = field(int16)
    base_offset: int = field(int64)
    log_append_time_ms: int = field(int64, versions="2+", default=-1, ignorable=True)
    log_start_offset: int = field(int64, versions="5+", default=-1, ignorable=True)
    record_errors: list[BatchIndexAndErrorMessage] = field(
        array(BatchIndexAndErrorMessage), versions="8+", ignorable=True
    )
    error_message: str | None = field(string, versions="8+", nullable="8+", default=None, ignorable=True)
    current_leader: LeaderIdAndEpoch = field(LeaderIdAndEpoch, versions="10+", tag=0, tagged="10+")


class TopicProduceResponse(Struct):
    """One of the `responses` of ProduceResponse."""

    name: str = field(string, versions="0-12", ignorable=True)
    topic_id: bytes = field(uuid, versions="13+", ignorable=True)
    partition_responses: list[PartitionProduceResponse] = field(array(PartitionProduceResponse))


class NodeEndpoint(Struct):
    """One of the `node_endpoints` of ProduceResponse."""

    node_id: int = field(int32, versions="10+")
    host: str = field(string, versions="10+")
    port: int = field(int32, versions="10+")
    rack: str | None = field(string, versions="10+", nullable="10+", default=None)


class ProduceResponse(Message, api_key=0, versions="3-13", flexible="9+"):
    responses: list[TopicProduceResponse] = field(array(TopicProduceResponse))
    throttle_time_ms: int = field(int32, versions="1+", ignorable=True)
    node_endpoints: list[NodeEndpoint] = field(array(NodeEndpoint), versions="10+", tag=0, tagged="10+")


def _plain_partition(version: int) -> tuned.Encode:
    flexible = ProduceResponse.is_flexible(version)
    return codec.encoder(PartitionProduceResponse, version, flexible, flexible)


ProduceRequest.tuned_decoder = tuned.produce_request_decoder(
    ProduceRequest, TopicProduceData, PartitionProduceData
)
ProduceResponse.tuned_encoder = tuned.produce_response_encoder(_plain_partition)
