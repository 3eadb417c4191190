"""Produce (key 0, v3-13): append one record batch to each of several partitions.

Structure is checked here, in Kafka's order and with Kafka's codes: batches present and single, magic 2, size and
CRC-32C, counts, no control batches. What depends on the broker's state (sequences, transactions, limits of the
topic) is decided by the machine; partitions succeed and fail independently. v12 and later add partitions to the
transaction by the write itself (KIP-890), v13 names topics by id. v0-2 are advertised for old librdkafka and
refused (KAFKA-18659). acks=0 gets no answer; when a partition failed, the connection is closed instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from oncelog.broker.context import Context
from oncelog.broker.registry import Api
from oncelog.machine.commands import Produce, ProduceBatch, ProduceResult
from oncelog.wire.errors import ErrorCode
from oncelog.wire.messages.produce import (
    BatchIndexAndErrorMessage,
    PartitionProduceResponse,
    ProduceRequest,
    ProduceResponse,
    TopicProduceResponse,
)
from oncelog.wire.records import (
    HEADER_SIZE,
    BatchHeader,
    batch_crc_is_valid,
    iterate_records,
    parse_batch_header,
)

API = Api(request=ProduceRequest, response=ProduceResponse, advertised_min=0)

ADMIN_CLIENT_ID = "__admin_client"
INTERNAL_TOPICS = frozenset({"__consumer_offsets", "__transaction_state", "__share_group_state"})
ZSTD = 4
COMPRESSION_CODECS_MAX = 4
BATCH_OVERHEAD_BYTES = 12
BATCH_LENGTH_MIN = 14
PREFIX_BYTES = 17
"""What the magic byte needs to be seen."""


class Refused(NamedTuple):
    """Why a partition's records never reach the machine."""

    error: int
    message: str | None = None


class _Place(NamedTuple):
    """One partition of the request: refused already, or the index of its batch in the command."""

    topic_name: str
    topic_id: bytes
    index: int
    refused: Refused | None
    command_index: int


def handle(context: Context, request: ProduceRequest) -> ProduceResponse | None:
    """Check structure, let the machine decide, and answer per partition."""
    places: list[_Place] = []
    commands: list[ProduceBatch] = []
    batches: list[memoryview] = []
    is_transactional = _whole_request_error(request)
    state = context.broker.state
    by_id = context.version >= 13
    for topic_data in request.topic_data:
        topic = state.topics.get(topic_data.topic_id) if by_id else state.topic_named(topic_data.name)
        for partition_data in topic_data.partition_data:
            index = partition_data.index
            refused: Refused | None = is_transactional
            command_index = -1
            if refused is None:
                if topic is None:
                    refused = Refused(
                        ErrorCode.UNKNOWN_TOPIC_ID if by_id else ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
                    )
                    if not by_id and topic_data.name in INTERNAL_TOPICS:
                        refused = Refused(ErrorCode.INVALID_TOPIC_EXCEPTION)
                elif not 0 <= index < len(topic.partitions):
                    refused = Refused(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
                elif request.acks not in (-1, 0, 1):
                    refused = Refused(ErrorCode.INVALID_REQUIRED_ACKS)
                elif topic.name in INTERNAL_TOPICS and context.client_id != ADMIN_CLIENT_ID:
                    refused = Refused(ErrorCode.INVALID_TOPIC_EXCEPTION)
                else:
                    checked = check_structure(
                        partition_data.records, context.version, topic.produce_rules.max_message_bytes
                    )
                    if isinstance(checked, BatchHeader):
                        records = partition_data.records
                        assert records is not None
                        command_index = len(commands)
                        batch = records[: checked.size]
                        commands.append(ProduceBatch(topic.id, index, checked, checked.size))
                        batches.append(batch)
                    else:
                        refused = checked
            places.append(_Place(topic_data.name, topic_data.topic_id, index, refused, command_index))
    results: tuple[ProduceResult, ...] = ()
    if commands:
        command = Produce(
            request.transactional_id, tuple(commands), context.version, context.client_id, context.host
        )
        results = context.broker.engine.produce(command, batches)
    if request.acks == 0:
        if any(place.refused or results[place.command_index].error for place in places):
            context.broker.close_connection(context, "a produce with acks=0 failed")
        return None
    return _response(places, results, commands, batches)


def _whole_request_error(request: ProduceRequest) -> Refused | None:
    """A transactional first batch needs the request to name its transactional id, or all of it is refused."""
    if request.transactional_id is not None:
        return None
    for topic_data in request.topic_data:
        for partition_data in topic_data.partition_data:
            records = partition_data.records
            if records is not None and len(records) >= HEADER_SIZE and records[22] & 0x10:
                return Refused(ErrorCode.TRANSACTIONAL_ID_AUTHORIZATION_FAILED)
    return None


def check_structure(
    records: memoryview | bytes | None, version: int, max_message_bytes: int
) -> BatchHeader | Refused:
    """The header of the one good batch in `records`, or why there is none. Source: KafkaApis, UnifiedLog."""
    if records is None or len(records) < PREFIX_BYTES:
        return Refused(ErrorCode.INVALID_RECORD, "no complete record batch")
    size_bytes = BATCH_OVERHEAD_BYTES + int.from_bytes(records[8:12], "big", signed=True)
    magic = records[16]
    if size_bytes < BATCH_OVERHEAD_BYTES + BATCH_LENGTH_MIN or magic > 2:
        return Refused(ErrorCode.CORRUPT_MESSAGE, "the batch's size or magic is not valid")
    if magic != 2:
        return Refused(ErrorCode.INVALID_RECORD, "only record batches of magic 2 are accepted")
    if size_bytes > len(records):
        return Refused(ErrorCode.INVALID_RECORD, "no complete record batch")
    if _has_another_batch(records, size_bytes):
        return Refused(ErrorCode.INVALID_RECORD, "more than one record batch")
    if size_bytes < HEADER_SIZE:
        return Refused(ErrorCode.CORRUPT_MESSAGE, "the batch is shorter than its header")
    header = parse_batch_header(records)
    if header.compression == ZSTD and version < 7:
        return Refused(ErrorCode.UNSUPPORTED_COMPRESSION_TYPE)
    if header.base_offset != 0:
        return Refused(ErrorCode.INVALID_RECORD, "the base offset of a new batch must be 0")
    if size_bytes > max_message_bytes:
        return Refused(ErrorCode.MESSAGE_TOO_LARGE, f"max.message.bytes is {max_message_bytes}")
    if not batch_crc_is_valid(records[:size_bytes], header):
        return Refused(ErrorCode.CORRUPT_MESSAGE, "the CRC-32C does not match")
    return _check_counts(header)


def _check_counts(header: BatchHeader) -> BatchHeader | Refused:
    if header.record_count <= 0 or header.record_count != header.last_offset_delta + 1:
        return Refused(ErrorCode.INVALID_RECORD, "the record count and the last offset do not fit")
    if header.is_control:
        return Refused(ErrorCode.INVALID_RECORD, "clients must not write control batches")
    if header.compression > COMPRESSION_CODECS_MAX:
        return Refused(ErrorCode.CORRUPT_MESSAGE, "unknown compression codec")
    if header.producer_id >= 0 and (header.base_sequence < 0 or header.producer_epoch < 0):
        return Refused(ErrorCode.INVALID_RECORD, "a producer's batch needs an epoch and a sequence")
    if header.is_transactional and header.producer_id < 0:
        return Refused(ErrorCode.INVALID_RECORD, "a transactional batch needs a producer id")
    return header


def _has_another_batch(records: memoryview | bytes, size_bytes: int) -> bool:
    """A second batch counts only when it is complete; Kafka's reader takes a partial one for absent."""
    rest = len(records) - size_bytes
    if rest < PREFIX_BYTES:
        return False
    next_size = BATCH_OVERHEAD_BYTES + int.from_bytes(
        records[size_bytes + 8 : size_bytes + 12], "big", signed=True
    )
    return BATCH_OVERHEAD_BYTES + BATCH_LENGTH_MIN <= next_size <= rest


def _response(
    places: Sequence[_Place],
    results: Sequence[ProduceResult],
    commands: Sequence[ProduceBatch],
    batches: Sequence[memoryview],
) -> ProduceResponse:
    response = ProduceResponse(responses=[])
    topic_response: TopicProduceResponse | None = None
    for place in places:
        if (
            topic_response is None
            or topic_response.name != place.topic_name
            or topic_response.topic_id != place.topic_id
        ):
            topic_response = TopicProduceResponse(
                name=place.topic_name, topic_id=place.topic_id, partition_responses=[]
            )
            response.responses.append(topic_response)
        if place.refused is not None:
            answer = PartitionProduceResponse(
                index=place.index,
                error_code=place.refused.error,
                base_offset=-1,
                log_append_time_ms=-1,
                log_start_offset=-1,
                error_message=place.refused.message,
            )
        else:
            result = results[place.command_index]
            answer = PartitionProduceResponse(
                index=place.index,
                error_code=result.error,
                base_offset=result.base_offset,
                log_append_time_ms=result.log_append_time_ms,
                log_start_offset=result.log_start_offset,
            )
            if result.error:
                answer.error_message = result.message
                if result.error == ErrorCode.INVALID_TIMESTAMP:
                    answer.record_errors = _timestamp_errors(batches[place.command_index], result)
        topic_response.partition_responses.append(answer)
    return response


def _timestamp_errors(batch: memoryview, result: ProduceResult) -> list[BatchIndexAndErrorMessage]:
    """Name the records whose timestamps are out of range; only now is the batch looked into."""
    earliest_ms, latest_ms = result.timestamp_range_ms or (0, 0)
    return [
        BatchIndexAndErrorMessage(
            batch_index=index, batch_index_error_message=f"timestamp {record.timestamp} is out of range"
        )
        for index, record in enumerate(iterate_records(batch))
        if not earliest_ms <= record.timestamp <= latest_ms
    ]
