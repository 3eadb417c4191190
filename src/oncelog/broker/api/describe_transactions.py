"""DescribeTransactions (key 65, v0): transactional ids, their producers and open transactions (KIP-664).

Reads state only. A transaction's groups show as partitions of __consumer_offsets, as Kafka has them; topics
deleted meanwhile are left out. Errors per id: INVALID_REQUEST for "", TRANSACTIONAL_ID_NOT_FOUND;
POLICY_VIOLATION when an answer would hold too much.
"""

from __future__ import annotations

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
"""Of one answer, each partition and group counted as ten."""
SIZE_OF_A_PARTITION = 10


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
    return SIZE_OF_A_PARTITION * (len(transaction.partitions) + len(transaction.groups))


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
    if transaction.groups:
        covered[state.internal.consumer_offsets.name] = set(transaction.groups.values())
    return [TopicData(topic=name, partitions=sorted(indexes)) for name, indexes in sorted(covered.items())]
