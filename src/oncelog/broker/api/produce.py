"""Produce (key 0, v3-13): append one record batch to each of several partitions.

Structure is checked by batch_checks.py. What depends on the broker's state (sequences, transactions, limits
of the topic) is decided by the machine; partitions succeed and fail independently. v12 and later add
partitions to the transaction by the write itself (KIP-890), v13 names topics by id. v0-2 are advertised for
old librdkafka and refused (KAFKA-18659). acks=0 gets no answer; when a partition failed, the connection is
closed instead.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from oncelog.broker.batch_checks import (
    Buffer,
    Refused,
    check_keys_in_steps,
    check_structure,
    timestamp_errors,
)
from oncelog.broker.context import Context
from oncelog.broker.overtaken import Kind
from oncelog.broker.refusal_history import refused_in_partition
from oncelog.broker.registry import Api, Unprepared
from oncelog.broker.room import MESSAGE
from oncelog.machine.commands import Produce, ProduceBatch, ProduceResult
from oncelog.machine.state import Topic
from oncelog.machine.topics import INTERNAL_TOPICS
from oncelog.wire.errors import ErrorCode
from oncelog.wire.messages.produce import (
    PartitionProduceData,
    PartitionProduceResponse,
    ProduceRequest,
    ProduceResponse,
    TopicProduceData,
    TopicProduceResponse,
)
from oncelog.wire.records import HEADER_SIZE, parse_batch_header

API = Api(request=ProduceRequest, response=ProduceResponse, advertised_min=0)

ADMIN_CLIENT_ID = "__admin_client"
FIRST_VERSION_OF_TRANSACTIONS_V2 = 12
FIRST_VERSION_WITH_TOPIC_IDS = 13
ACKS = (-1, 0, 1)
BATCHES_LOOKED_INTO_MAX = 4
"""To name the records with wrong timestamps; unpacking every batch of a request could take minutes."""
KEYED_RECORDS_MAX = 250_000
"""Records of one request to compacted topics, each of which is read for its key, in about half a second."""
KEYED_BYTES_MAX = 64 << 20
"""The same for what the batches unpack to, all together."""
STEP_BYTES = 1 << 20
"""What batches that are too small to pause by themselves unpack to before others have a turn."""
RECORD_COST_BYTES, BATCH_COST_BYTES = 200, 5000
"""Looking at a record or at a batch takes about as long as unpacking so much."""
_TRANSACTIONAL_BIT = 0x10
_ATTRIBUTES_LOW_BYTE = 22


class _Place(NamedTuple):
    """One partition of the request: why it is refused already, or the place of its batch in the command."""

    topic: TopicProduceData
    partition: int
    refused: Refused | None
    batch_number: int


class _Unchecked(NamedTuple):
    """A batch whose records must be looked at for their keys. number: counts those of the request."""

    number: int
    batch: Buffer
    record_count: int


def handle(context: Context, request: ProduceRequest) -> ProduceResponse | Unprepared | None:
    """Check structure, let the machine decide, and answer per partition.

    Batches for compacted topics are looked into first, in steps.
    """
    whole_request = _whole_request_error(request)
    is_nearly_full = context.broker.disk_space.is_nearly_full
    places: list[_Place] = []
    commands: list[ProduceBatch] = []
    batches: list[Buffer] = []
    keyed_records, number = 0, -1
    unchecked: list[_Unchecked] = []
    for topic_data in request.topic_data:
        topic = _topic(context, topic_data)
        for partition_data in topic_data.partition_data:
            number += 1
            checked = whole_request or _check(context, request, topic_data, topic, partition_data)
            if isinstance(checked, ProduceBatch) and topic is not None and topic.produce_rules.needs_keys:
                keyed_records += checked.header.record_count
                found = _with_keys(context, checked, partition_data, number, keyed_records)
                if isinstance(found, _Unchecked):
                    unchecked.append(found)
                    continue
                checked = found
            if is_nearly_full:
                checked = _without_room(context, request, checked)
            if isinstance(checked, Refused):
                _keep_later_ones_out(context, request, topic, partition_data)
                places.append(_Place(topic_data, partition_data.index, checked, -1))
                continue
            places.append(_Place(topic_data, partition_data.index, None, len(commands)))
            commands.append(checked)
            assert partition_data.records is not None
            batches.append(partition_data.records[: checked.size])
    if unchecked:
        return Unprepared(_check_keys(context, unchecked))
    results: tuple[ProduceResult, ...] = ()
    if commands:
        producer = _first_generation_producer(context, request, commands)
        if producer is not None and context.broker.overtaken.closes(context, Kind.PRODUCE, producer):
            return None
        refused_batches = context.broker.refused_batches
        begins_anywhere = _may_begin_anywhere(context, request)
        asked = refused_batches.expecting(commands) if begins_anywhere else commands
        command = Produce(
            request.transactional_id, tuple(asked), context.version, context.client_id, context.host
        )
        results = context.broker.engine.produce(command, batches)
        if begins_anywhere:
            refused_batches.decided(commands, results)
        if producer is not None and not any(result.error for result in results):
            context.broker.overtaken.spoke(context, Kind.PRODUCE, producer)
    if request.acks == 0:
        if any(place.refused or results[place.batch_number].error for place in places):
            _keep_refused(context, request, commands, results)
            context.broker.close_connection(context, "a produce with acks=0 failed")
        return None
    response, is_refused = _response(places, results, batches)
    if is_refused:
        _keep_refused(context, request, commands, results)
    return response


def _keep_refused(
    context: Context,
    request: ProduceRequest,
    commands: Sequence[ProduceBatch],
    results: Sequence[ProduceResult],
) -> None:
    """For whoever asks why; alike in several partitions, it is one refusal."""
    kept = set()
    for batch, result in zip(commands, results, strict=True):
        sent = (batch.header.producer_id, batch.header.producer_epoch)
        if result.error and (sent, result.error) not in kept:
            kept.add((sent, result.error))
            place = (batch.topic_id, batch.partition)
            refused_in_partition(context, API.name, request.transactional_id, place, sent, result.error)


def _first_generation_producer(
    context: Context, request: ProduceRequest, batches: Sequence[ProduceBatch]
) -> tuple[int, int] | None:
    """Whose transactional records these are, where a request alone does not tell the transaction."""
    if request.transactional_id is None or context.version >= FIRST_VERSION_OF_TRANSACTIONS_V2:
        return None
    header = batches[0].header
    return (header.producer_id, header.producer_epoch) if header.is_transactional else None


def _may_begin_anywhere(context: Context, request: ProduceRequest) -> bool:
    """Whether a partition takes any sequence as such a producer's first; in newer transactions only 0."""
    return request.transactional_id is None or context.version < FIRST_VERSION_OF_TRANSACTIONS_V2


def _without_room(context: Context, request: ProduceRequest, checked: ProduceBatch | Refused) -> Refused:
    """On a disk that is nearly full, where each batch is refused, and may come again."""
    if isinstance(checked, ProduceBatch) and _may_begin_anywhere(context, request):
        context.broker.refused_batches.refused(checked)
    return Refused(ErrorCode.NOT_ENOUGH_REPLICAS, MESSAGE)


def _keep_later_ones_out(
    context: Context, request: ProduceRequest, topic: Topic | None, partition_data: PartitionProduceData
) -> None:
    """A batch whose structure or keys are refused is refused like any other of its transaction.

    Its header may be damaged, so it must name the producer that the transactional id has.
    """
    records = partition_data.records
    if request.transactional_id is None or topic is None or not _may_begin_anywhere(context, request):
        return
    if records is None or len(records) < HEADER_SIZE:
        return
    header = parse_batch_header(records)
    transaction = context.broker.state.transactions.get(request.transactional_id)
    if transaction is None or not header.is_transactional or header.base_sequence < 0:
        return
    if (header.producer_id, header.producer_epoch) == (transaction.producer_id, transaction.producer_epoch):
        batch = ProduceBatch(topic.id, partition_data.index, header, header.size)
        context.broker.refused_batches.refused(batch)


def _topic(context: Context, topic_data: TopicProduceData) -> Topic | None:
    state = context.broker.state
    if context.version >= FIRST_VERSION_WITH_TOPIC_IDS:
        return state.topics.get(topic_data.topic_id)
    return state.topic_named(topic_data.name)


def _whole_request_error(request: ProduceRequest) -> Refused | None:
    """A transactional first batch needs the request to name its transactional id, or all of it is refused."""
    if request.transactional_id is not None:
        return None
    for topic_data in request.topic_data:
        for partition_data in topic_data.partition_data:
            records = partition_data.records
            if (
                records is not None
                and len(records) >= HEADER_SIZE
                and records[_ATTRIBUTES_LOW_BYTE] & _TRANSACTIONAL_BIT
            ):
                return Refused(ErrorCode.TRANSACTIONAL_ID_AUTHORIZATION_FAILED)
    return None


def _check(
    context: Context,
    request: ProduceRequest,
    topic_data: TopicProduceData,
    topic: Topic | None,
    partition_data: PartitionProduceData,
) -> ProduceBatch | Refused:
    """What the machine is asked to append, or why it isn't asked."""
    if topic is None:
        return Refused(_unknown_topic_error(context, topic_data))
    index = partition_data.index
    if not 0 <= index < len(topic.partitions):
        return Refused(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
    if request.acks not in ACKS:
        return Refused(ErrorCode.INVALID_REQUIRED_ACKS)
    if topic.name in INTERNAL_TOPICS and context.client_id != ADMIN_CLIENT_ID:
        return Refused(ErrorCode.INVALID_TOPIC_EXCEPTION)
    header = check_structure(partition_data.records, context.version, topic.produce_rules.max_message_bytes)
    if isinstance(header, Refused):
        return header
    return ProduceBatch(topic.id, index, header, header.size)


def _with_keys(
    context: Context,
    batch: ProduceBatch,
    partition_data: PartitionProduceData,
    number: int,
    keyed_records: int,
) -> ProduceBatch | Refused | _Unchecked:
    """The batch, if each of its records has a key. keyed_records: of the request so far; clients split it."""
    if keyed_records > KEYED_RECORDS_MAX:
        message = f"one request may have {KEYED_RECORDS_MAX} records for compacted topics"
        return Refused(ErrorCode.MESSAGE_TOO_LARGE, message)
    if context.prepared is None or number not in context.prepared:
        assert partition_data.records is not None
        return _Unchecked(number, partition_data.records[: batch.size], batch.header.record_count)
    refused: Refused | None = context.prepared[number]
    return refused or batch


def _check_keys(context: Context, unchecked: Sequence[_Unchecked]) -> Iterator[None]:
    """Look for keys in these batches; what comes of it is kept by their numbers."""
    prepared = context.prepared = context.prepared or {}
    bytes_left = KEYED_BYTES_MAX
    since_pause_bytes = 0
    for number, batch, record_count in unchecked:
        if bytes_left <= 0:
            message = f"records for compacted topics in one request may unpack to {KEYED_BYTES_MAX} bytes"
            prepared[number] = Refused(ErrorCode.MESSAGE_TOO_LARGE, message)
            continue
        found = yield from check_keys_in_steps(batch)
        prepared[number] = found.refused
        bytes_left -= found.unpacked_bytes
        since_pause_bytes += found.unpacked_bytes + record_count * RECORD_COST_BYTES + BATCH_COST_BYTES
        if since_pause_bytes >= STEP_BYTES:
            since_pause_bytes = 0
            yield


def _unknown_topic_error(context: Context, topic_data: TopicProduceData) -> ErrorCode:
    name = topic_data.name
    if context.version >= FIRST_VERSION_WITH_TOPIC_IDS:
        internal = context.broker.state.internal.by_id(topic_data.topic_id)
        if internal is None:
            return ErrorCode.UNKNOWN_TOPIC_ID
        name = internal.name
    if name in INTERNAL_TOPICS:
        return ErrorCode.INVALID_TOPIC_EXCEPTION
    return ErrorCode.UNKNOWN_TOPIC_OR_PARTITION


def _response(
    places: Sequence[_Place], results: Sequence[ProduceResult], batches: Sequence[Buffer]
) -> tuple[ProduceResponse, bool]:
    """The answer, and whether the machine has refused some of it."""
    is_refused = False
    response = ProduceResponse(responses=[])
    answered: TopicProduceData | None = None
    partitions: list[PartitionProduceResponse] = []
    batches_looked_into = 0
    for place in places:
        if place.topic is not answered:
            answered = place.topic
            partitions = []
            response.responses.append(
                TopicProduceResponse(
                    name=answered.name, topic_id=answered.topic_id, partition_responses=partitions
                )
            )
        if place.refused is not None:
            partitions.append(_refused_answer(place.partition, place.refused))
        else:
            number = place.batch_number
            result = results[number]
            answer = _answer(place.partition, result)
            if result.error:
                is_refused = True
            if result.timestamp_range_ms is not None and batches_looked_into < BATCHES_LOOKED_INTO_MAX:
                batches_looked_into += 1
                answer.record_errors = timestamp_errors(batches[number], *result.timestamp_range_ms)
            partitions.append(answer)
    return response, is_refused


def _refused_answer(index: int, refused: Refused) -> PartitionProduceResponse:
    return PartitionProduceResponse(
        index=index,
        error_code=refused.error,
        base_offset=-1,
        log_append_time_ms=-1,
        log_start_offset=-1,
        record_errors=refused.record_errors,
        error_message=refused.message,
    )


def _answer(index: int, result: ProduceResult) -> PartitionProduceResponse:
    answer = PartitionProduceResponse(
        index=index,
        error_code=result.error,
        base_offset=result.base_offset,
        log_append_time_ms=result.log_append_time_ms,
        log_start_offset=result.log_start_offset,
    )
    if result.error:
        answer.error_message = result.message
    return answer
