"""InitProducerId (key 22, v0-5): a producer id and epoch, new or the next one.

Without a transactional id: a fresh id, epoch 0. With one: fences whoever held it before, aborts its open
transaction in the same decision, and answers at once (KIP-98, KIP-360). A retry that carries the producer id
and epoch of the lost request gets the same answer. Before v4 a fenced caller is told INVALID_PRODUCER_EPOCH
(KIP-588).
"""

from __future__ import annotations

from oncelog.broker.context import Context
from oncelog.broker.refusal_history import refused
from oncelog.broker.registry import Api
from oncelog.machine.commands import InitProducerId
from oncelog.wire.errors import ErrorCode
from oncelog.wire.messages.init_producer_id import InitProducerIdRequest, InitProducerIdResponse

API = Api(request=InitProducerIdRequest, response=InitProducerIdResponse)

FIRST_VERSION_TOLD_FENCED = 4


def handle(context: Context, request: InitProducerIdRequest) -> InitProducerIdResponse:
    """Let the machine decide, unless there is no room for what producers do next."""
    if context.broker.disk_space.is_nearly_full:
        return InitProducerIdResponse(
            error_code=ErrorCode.COORDINATOR_LOAD_IN_PROGRESS, producer_id=-1, producer_epoch=-1
        )
    reply = context.broker.engine.execute(
        InitProducerId(
            request.transactional_id,
            request.transaction_timeout_ms,
            request.producer_id,
            request.producer_epoch,
            context.client_id,
            context.host,
        )
    )
    error = reply.error
    if error:
        sent = (request.producer_id, request.producer_epoch)
        refused(context, API.name, request.transactional_id, sent, error)
    if error == ErrorCode.PRODUCER_FENCED and context.version < FIRST_VERSION_TOLD_FENCED:
        error = ErrorCode.INVALID_PRODUCER_EPOCH
    if error:
        return InitProducerIdResponse(error_code=error, producer_id=-1, producer_epoch=-1)
    return InitProducerIdResponse(producer_id=reply.producer_id, producer_epoch=reply.producer_epoch)
