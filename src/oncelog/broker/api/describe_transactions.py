"""DescribeTransactions (key 65, v0): transactional ids, their producers and open transactions (KIP-664).

Reads state only. A transaction's groups show as partitions of __consumer_offsets, as Kafka has them; topics
deleted meanwhile are left out. Errors per id: INVALID_REQUEST for "", TRANSACTIONAL_ID_NOT_FOUND;
POLICY_VIOLATION when an answer would hold too much.
"""

from __future__ import annotations

import struct

from oncelog.broker.context import Context
from oncelog.broker.registry import Api
from oncelog.machine.state import State, TransactionalId
from oncelog.wire.errors import ErrorCode
from oncelog.wire.messages.describe_transactions import (
    DescribeTransactionsRequest,
    DescribeTransactionsResponse,
    TopicData,
    TransactionState,
)

API = Api(request=DescribeTransactionsRequest, response=DescribeTransactionsResponse)

SIZE_MAX = 1_000_000
"""Of one answer: characters of groups' names, which are hashed, and ten times as much for a partition."""
SIZE_OF_A_PARTITION = 10
OFFSETS_TOPIC = "__consumer_offsets"
OFFSETS_PARTITIONS = 50
"""Kafka's offsets.topic.num.partitions; a group's partition is its name's hash modulo this."""


def handle(context: Context, request: DescribeTransactionsRequest) -> DescribeTransactionsResponse:
    """Describe each id that is asked for, once."""
    states = []
    room = SIZE_MAX
    for name in dict.fromkeys(request.transactional_ids):
        transaction = context.broker.state.transactions.get(name)
        room -= 0 if transaction is None else _size(transaction)
        states.append(_describe(context.broker.state, name, transaction, is_too_much=room < 0))
    return DescribeTransactionsResponse(transaction_states=states)


def _size(transaction: TransactionalId) -> int:
    return SIZE_OF_A_PARTITION * len(transaction.partitions) + sum(map(len, transaction.groups))


def _describe(
    state: State, name: str, transaction: TransactionalId | None, *, is_too_much: bool
) -> TransactionState:
    if transaction is None:
        error = ErrorCode.TRANSACTIONAL_ID_NOT_FOUND if name else ErrorCode.INVALID_REQUEST
        return TransactionState(error_code=error, transactional_id=name, topics=[])
    if is_too_much:
        return TransactionState(error_code=ErrorCode.POLICY_VIOLATION, transactional_id=name, topics=[])
    return TransactionState(
        error_code=ErrorCode.NONE,
        transactional_id=name,
        transaction_state=transaction.state.kafka_name,
        transaction_timeout_ms=transaction.timeout_ms,
        transaction_start_time_ms=transaction.started_wall_ms,
        producer_id=transaction.producer_id,
        producer_epoch=transaction.producer_epoch,
        topics=_topics(state, transaction),
    )


def _topics(state: State, transaction: TransactionalId) -> list[TopicData]:
    covered: dict[str, set[int]] = {}
    for topic_id, index in transaction.partitions:
        topic = state.topics.get(topic_id)
        if topic is not None:
            covered.setdefault(topic.name, set()).add(index)
    for group_id in transaction.groups:
        covered.setdefault(OFFSETS_TOPIC, set()).add(offsets_partition(group_id))
    return [TopicData(topic=name, partitions=sorted(indexes)) for name, indexes in sorted(covered.items())]


def offsets_partition(group_id: str) -> int:
    """The partition of __consumer_offsets that Kafka keeps a group in: by Java's hash of its name."""
    encoded = group_id.encode("utf-16-be", "surrogatepass")
    hashed = 0
    for unit in struct.unpack(f">{len(encoded) // 2}H", encoded):
        hashed = (31 * hashed + unit) & 0xFFFFFFFF
    # Kafka makes the signed number positive; of the one that has no positive counterpart it makes 0.
    positive = hashed if hashed < 1 << 31 else (1 << 32) - hashed
    return 0 if positive == 1 << 31 else positive % OFFSETS_PARTITIONS
