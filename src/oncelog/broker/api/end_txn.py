"""EndTxn (key 26, v0-5): commit or abort the open transaction of a transactional id.

Markers in all partitions, consumer offsets and the transaction's own state change in one event. The
request's version alone selects the generation: v5 bumps the epoch with every end and answers the producer
id and epoch to go on with (KIP-890). Before v2 a fenced caller is told INVALID_PRODUCER_EPOCH (KIP-588).
"""

from __future__ import annotations

from oncelog.broker.context import Context
from oncelog.broker.overtaken import Kind
from oncelog.broker.refusal_history import refused
from oncelog.broker.registry import Api
from oncelog.machine.commands import EndTxn
from oncelog.wire.errors import ErrorCode
from oncelog.wire.messages.end_txn import EndTxnRequest, EndTxnResponse

API = Api(request=EndTxnRequest, response=EndTxnResponse)

FIRST_VERSION_OF_TRANSACTIONS_V2 = 5
FIRST_VERSION_TOLD_FENCED = 2


def handle(context: Context, request: EndTxnRequest) -> EndTxnResponse | None:
    """Let the machine decide."""
    transactions_v2 = context.version >= FIRST_VERSION_OF_TRANSACTIONS_V2
    producer = (request.producer_id, request.producer_epoch)
    if not transactions_v2 and context.broker.overtaken.closes(context, Kind.END, producer):
        return None
    reply = context.broker.engine.execute(
        EndTxn(
            request.transactional_id,
            request.producer_id,
            request.producer_epoch,
            request.committed,
            transactions_v2,
            context.client_id,
            context.host,
        )
    )
    error = reply.error
    if error:
        refused(context, API.name, request.transactional_id, producer, error)
    if error == ErrorCode.PRODUCER_FENCED and context.version < FIRST_VERSION_TOLD_FENCED:
        error = ErrorCode.INVALID_PRODUCER_EPOCH
    if not transactions_v2 and not error:
        context.broker.overtaken.spoke(context, Kind.END, producer)
    if error or not transactions_v2:
        return EndTxnResponse(error_code=error)
    return EndTxnResponse(producer_id=reply.producer_id, producer_epoch=reply.producer_epoch)
