"""FindCoordinator (key 10, v0-6): which broker looks after a group or a transactional id; always this one.

From v4 on for several keys at once (KIP-699).
Errors: INVALID_REQUEST for a key type that isn't a group (0) or a transactional id (1).
"""

from __future__ import annotations

from oncelog.broker.context import Context
from oncelog.broker.registry import Api
from oncelog.wire.errors import ErrorCode
from oncelog.wire.messages.find_coordinator import (
    Coordinator,
    FindCoordinatorRequest,
    FindCoordinatorResponse,
)

API = Api(request=FindCoordinatorRequest, response=FindCoordinatorResponse)

FIRST_VERSION_WITH_KEYS = 4
GROUP, TRANSACTION = 0, 1
UNKNOWN_KEY_TYPE = "this broker coordinates groups (0) and transactions (1) only"


def handle(context: Context, request: FindCoordinatorRequest) -> FindCoordinatorResponse:
    """Name this broker by the address that the client came in by."""
    node_id = context.broker.node_id
    host, port = context.connection.listener_address
    error, message = ErrorCode.NONE, None
    if request.key_type not in (GROUP, TRANSACTION):
        error, message = ErrorCode.INVALID_REQUEST, UNKNOWN_KEY_TYPE
        node_id, host, port = -1, "", -1
    if context.version < FIRST_VERSION_WITH_KEYS:
        return FindCoordinatorResponse(
            error_code=error, error_message=message, node_id=node_id, host=host, port=port
        )
    return FindCoordinatorResponse(
        coordinators=[
            Coordinator(
                key=key, node_id=node_id, host=host, port=port, error_code=error, error_message=message
            )
            for key in request.coordinator_keys
        ]
    )
