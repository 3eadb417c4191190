"""AddOffsetsToTxn (key 25, v0-4): announce that a group's offsets will be committed in the transaction.

Before v2 a fenced caller is told INVALID_PRODUCER_EPOCH (KIP-588).
"""

from __future__ import annotations

from oncelog.broker.context import Context
from oncelog.broker.overtaken import Kind
from oncelog.broker.refusal_history import refused
from oncelog.broker.registry import Api
from oncelog.machine.commands import AddOffsetsToTxn
from oncelog.wire.errors import ErrorCode
from oncelog.wire.messages.add_offsets_to_txn import AddOffsetsToTxnRequest, AddOffsetsToTxnResponse

API = Api(request=AddOffsetsToTxnRequest, response=AddOffsetsToTxnResponse)

FIRST_VERSION_TOLD_FENCED = 2


def handle(context: Context, request: AddOffsetsToTxnRequest) -> AddOffsetsToTxnResponse | None:
    """Let the machine decide."""
    producer = (request.producer_id, request.producer_epoch)
    if context.broker.overtaken.closes(context, Kind.ADD_OFFSETS, producer):
        return None
    reply = context.broker.engine.execute(
        AddOffsetsToTxn(
            request.transactional_id,
            request.producer_id,
            request.producer_epoch,
            request.group_id,
            context.client_id,
            context.host,
        )
    )
    error = reply.error
    if error:
        refused(context, API.name, request.transactional_id, producer, error)
    if error == ErrorCode.PRODUCER_FENCED and context.version < FIRST_VERSION_TOLD_FENCED:
        error = ErrorCode.INVALID_PRODUCER_EPOCH
    if not error:
        context.broker.overtaken.spoke(context, Kind.ADD_OFFSETS, producer)
    return AddOffsetsToTxnResponse(error_code=error)
