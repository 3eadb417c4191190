"""AddPartitionsToTxn (key 24, v0-5): name the partitions that a transaction will write to.

v0-3 are the clients' form: one transactional id, all partitions or none; an unknown one is told so and the
others OPERATION_NOT_ATTEMPTED. v4 and later are the brokers' batched form; there are no other brokers here
and no security, so it is served to whoever asks, one result per transaction, `verify_only` included.
Nobody may write to an internal topic: TOPIC_AUTHORIZATION_FAILED, as in Kafka.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from oncelog.broker.context import Context
from oncelog.broker.overtaken import Kind
from oncelog.broker.refusal_history import refused
from oncelog.broker.registry import Api
from oncelog.machine.commands import AddPartitionsToTxn
from oncelog.machine.topics import INTERNAL_TOPICS
from oncelog.wire.errors import ErrorCode
from oncelog.wire.messages.add_partitions_to_txn import (
    AddPartitionsToTxnPartitionResult,
    AddPartitionsToTxnRequest,
    AddPartitionsToTxnResponse,
    AddPartitionsToTxnResult,
    AddPartitionsToTxnTopic,
    AddPartitionsToTxnTopicResult,
)

API = Api(request=AddPartitionsToTxnRequest, response=AddPartitionsToTxnResponse)

ErrorOf = Callable[[str, int], int]
"""Topic name and partition index to error code."""

FIRST_BATCHED_VERSION = 4
FIRST_VERSION_TOLD_FENCED = 2


def handle(context: Context, request: AddPartitionsToTxnRequest) -> AddPartitionsToTxnResponse | None:
    """One decision per transaction that the request names."""
    if context.version < FIRST_BATCHED_VERSION:
        return _add_for_client(context, request)
    return AddPartitionsToTxnResponse(
        results_by_transaction=[
            AddPartitionsToTxnResult(
                transactional_id=transaction.transactional_id,
                topic_results=_add(
                    context,
                    transaction.transactional_id,
                    transaction.producer_id,
                    transaction.producer_epoch,
                    transaction.topics,
                    transaction.verify_only,
                ),
            )
            for transaction in request.transactions
        ]
    )


def _add_for_client(
    context: Context, request: AddPartitionsToTxnRequest
) -> AddPartitionsToTxnResponse | None:
    producer = (request.v3_and_below_producer_id, request.v3_and_below_producer_epoch)
    if context.broker.overtaken.closes(context, Kind.ADD_PARTITIONS, producer):
        return None
    results = _add(
        context,
        request.v3_and_below_transactional_id,
        *producer,
        request.v3_and_below_topics,
        False,
    )
    errors = [each.partition_error_code for topic in results for each in topic.results_by_partition]
    if errors and not any(errors):
        context.broker.overtaken.spoke(context, Kind.ADD_PARTITIONS, producer)
    return AddPartitionsToTxnResponse(results_by_topic_v3_and_below=results)


def _add(
    context: Context,
    transactional_id: str,
    producer_id: int,
    producer_epoch: int,
    topics: Sequence[AddPartitionsToTxnTopic],
    verify_only: bool,
) -> list[AddPartitionsToTxnTopicResult]:
    state = context.broker.state
    wanted: list[tuple[bytes, int]] = []
    errors: dict[tuple[str, int], int] = {}
    for topic in topics:
        known = state.topic_named(topic.name)
        for index in topic.partitions:
            if topic.name in INTERNAL_TOPICS:
                errors[topic.name, index] = ErrorCode.TOPIC_AUTHORIZATION_FAILED
            elif known is None or not 0 <= index < len(known.partitions):
                errors[topic.name, index] = ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
            else:
                wanted.append((known.id, index))
    if errors:
        return _results(
            topics, lambda name, index: errors.get((name, index), ErrorCode.OPERATION_NOT_ATTEMPTED)
        )
    reply = context.broker.engine.execute(
        AddPartitionsToTxn(
            transactional_id,
            producer_id,
            producer_epoch,
            tuple(wanted),
            verify_only,
            context.client_id,
            context.host,
        )
    )
    error = reply.error
    if error or any(reply.partition_errors):
        refused(
            context,
            API.name,
            transactional_id,
            (producer_id, producer_epoch),
            error or max(reply.partition_errors),
        )
    if error == ErrorCode.PRODUCER_FENCED and context.version < FIRST_VERSION_TOLD_FENCED:
        error = ErrorCode.INVALID_PRODUCER_EPOCH
    if not verify_only or error:
        return _results(topics, lambda _name, _index: error)
    verified = dict(zip(wanted, reply.partition_errors, strict=True))
    return _results(topics, lambda name, index: verified[state.topic_ids[name], index])


def _results(
    topics: Sequence[AddPartitionsToTxnTopic], error_of: ErrorOf
) -> list[AddPartitionsToTxnTopicResult]:
    return [
        AddPartitionsToTxnTopicResult(
            name=topic.name,
            results_by_partition=[
                AddPartitionsToTxnPartitionResult(
                    partition_index=index, partition_error_code=error_of(topic.name, index)
                )
                for index in topic.partitions
            ],
        )
        for topic in topics
    ]
