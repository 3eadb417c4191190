"""SyncGroup (key 14, v0-5): a member's assignment in the current generation; the leader brings everybody's.

Waits for the leader. From v5 on protocol type and name are mandatory and checked (KIP-559).
Errors: INVALID_GROUP_ID, UNKNOWN_MEMBER_ID, FENCED_INSTANCE_ID, ILLEGAL_GENERATION,
INCONSISTENT_GROUP_PROTOCOL, REBALANCE_IN_PROGRESS, UNKNOWN_SERVER_ERROR for an assignment that is too
large.
"""

from __future__ import annotations

from collections.abc import Callable

from oncelog.broker.context import Context
from oncelog.broker.groups import SyncRequest
from oncelog.broker.live_group import SyncResult
from oncelog.broker.registry import Api
from oncelog.wire.errors import ErrorCode
from oncelog.wire.messages.sync_group import SyncGroupRequest, SyncGroupResponse

API = Api(request=SyncGroupRequest, response=SyncGroupResponse, waits=True)

FIRST_VERSION_NAMING_PROTOCOL = 5


def handle(context: Context, request: SyncGroupRequest, respond: Callable[[SyncGroupResponse], None]) -> None:
    """Hand the request to the coordinator; it answers now or when the leader has assigned."""
    if context.version >= FIRST_VERSION_NAMING_PROTOCOL and (
        request.protocol_type is None or request.protocol_name is None
    ):
        respond(SyncGroupResponse(error_code=ErrorCode.INCONSISTENT_GROUP_PROTOCOL))
        return

    def answer(result: SyncResult) -> None:
        respond(
            SyncGroupResponse(
                error_code=result.error,
                protocol_type=result.protocol_type,
                protocol_name=result.protocol,
                assignment=result.assignment,
            )
        )

    context.broker.groups.sync(
        SyncRequest(
            group_id=request.group_id,
            generation=request.generation_id,
            member_id=request.member_id,
            group_instance_id=request.group_instance_id,
            protocol_type=request.protocol_type,
            protocol=request.protocol_name,
            assignments=tuple(
                (assigned.member_id, bytes(assigned.assignment)) for assigned in request.assignments
            ),
        ),
        answer,
    )
