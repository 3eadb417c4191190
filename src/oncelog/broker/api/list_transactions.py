"""ListTransactions (key 66, v0-2): all transactional ids, their producers and states, filtered (KIP-664).

By state, by producer id, from v1 on by when the last transaction began (KIP-994), from v2 on by a pattern of
the whole id (KIP-1152). Names of states that Kafka doesn't have are answered as unknown.
INVALID_REGULAR_EXPRESSION for a pattern that is none, or too large a one.
"""

from __future__ import annotations

from oncelog.broker.api._pattern import Pattern, PatternError
from oncelog.broker.context import Context
from oncelog.broker.registry import Api
from oncelog.machine.state import TransactionalId
from oncelog.wire.errors import ErrorCode
from oncelog.wire.messages.list_transactions import (
    ListTransactionsRequest,
    ListTransactionsResponse,
    TransactionState,
)

API = Api(request=ListTransactionsRequest, response=ListTransactionsResponse)

STATES = frozenset(
    {
        "Empty",
        "Ongoing",
        "PrepareCommit",
        "PrepareAbort",
        "CompleteCommit",
        "CompleteAbort",
        "PrepareEpochFence",
        "Dead",
    }
)
"""Kafka's names, of which half can't be met here: a transaction ends in one step."""


def handle(context: Context, request: ListTransactionsRequest) -> ListTransactionsResponse:
    """List the transactional ids that pass all filters; an empty filter lets all pass."""
    try:
        found = _found(context, request)
    except PatternError:
        return ListTransactionsResponse(
            error_code=ErrorCode.INVALID_REGULAR_EXPRESSION, unknown_state_filters=[], transaction_states=[]
        )
    return ListTransactionsResponse(
        error_code=ErrorCode.NONE,
        unknown_state_filters=sorted(set(request.state_filters) - STATES),
        transaction_states=[
            TransactionState(
                transactional_id=transaction.name,
                producer_id=transaction.producer_id,
                transaction_state=transaction.state.kafka_name,
            )
            for transaction in found
        ],
    )


def _found(context: Context, request: ListTransactionsRequest) -> list[TransactionalId]:
    """Raises PatternError."""
    pattern = Pattern(request.transactional_id_pattern) if request.transactional_id_pattern else None
    states, producer_ids = frozenset(request.state_filters), frozenset(request.producer_id_filters)
    return [
        transaction
        for transaction in context.broker.state.transactions.values()
        if (not states or transaction.state.kafka_name in states)
        and (not producer_ids or transaction.producer_id in producer_ids)
        and (request.duration_filter < 0 or _age_ms(context, transaction) > request.duration_filter)
        and (pattern is None or pattern.matches(transaction.name))
    ]


def _age_ms(context: Context, transaction: TransactionalId) -> int:
    """As Kafka has it: since the last transaction began, be it open or not; without one, since 1970."""
    return context.broker.engine.wall_ms() - transaction.started_wall_ms
