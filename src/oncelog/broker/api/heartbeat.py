"""Heartbeat (key 12, v0-4): a member is alive; the answer tells it when to join again.

Errors: INVALID_GROUP_ID, UNKNOWN_MEMBER_ID, FENCED_INSTANCE_ID, ILLEGAL_GENERATION, REBALANCE_IN_PROGRESS.
"""

from __future__ import annotations

from oncelog.broker.context import Context
from oncelog.broker.registry import Api
from oncelog.wire.messages.heartbeat import HeartbeatRequest, HeartbeatResponse

API = Api(request=HeartbeatRequest, response=HeartbeatResponse)


def handle(context: Context, request: HeartbeatRequest) -> HeartbeatResponse:
    """Renew the session."""
    return HeartbeatResponse(
        error_code=context.broker.groups.heartbeat(
            request.group_id, request.generation_id, request.member_id, request.group_instance_id
        )
    )
