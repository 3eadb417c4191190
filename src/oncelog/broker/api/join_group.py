"""JoinGroup (key 11, v0-9): become a member of the group's next generation.

Waits until the rebalance is complete. From v4 on a newcomer is first told its member id with
MEMBER_ID_REQUIRED (KIP-394), from v5 on a static member is known by its instance id (KIP-345), from v9 on
a leader that came back is told to leave the assignment alone (KIP-814).
Errors: INVALID_GROUP_ID, INVALID_SESSION_TIMEOUT, UNKNOWN_MEMBER_ID, FENCED_INSTANCE_ID,
MEMBER_ID_REQUIRED, INCONSISTENT_GROUP_PROTOCOL, GROUP_MAX_SIZE_REACHED, REBALANCE_IN_PROGRESS,
COORDINATOR_LOAD_IN_PROGRESS.
"""

from __future__ import annotations

from collections.abc import Callable

from oncelog.broker.context import Context
from oncelog.broker.groups import JoinRequest
from oncelog.broker.live_group import JoinResult
from oncelog.broker.registry import Api
from oncelog.machine.group_state import MemberProtocol
from oncelog.wire.messages.join_group import JoinGroupRequest, JoinGroupResponse, JoinGroupResponseMember

API = Api(request=JoinGroupRequest, response=JoinGroupResponse, waits=True)

FIRST_VERSION_GIVING_MEMBER_ID = 4
FIRST_VERSION_WITH_NULL_PROTOCOL = 7
FIRST_VERSION_SKIPPING_ASSIGNMENT = 9


def handle(context: Context, request: JoinGroupRequest, respond: Callable[[JoinGroupResponse], None]) -> None:
    """Hand the request to the coordinator; it answers now or when the rebalance is complete."""
    version = context.version

    def answer(result: JoinResult) -> None:
        respond(_response(result, version))

    context.broker.groups.join(_meaning(context, request), answer)


def _meaning(context: Context, request: JoinGroupRequest) -> JoinRequest:
    protocols = {protocol.name: bytes(protocol.metadata) for protocol in request.protocols}
    rebalance_timeout_ms = request.rebalance_timeout_ms
    if rebalance_timeout_ms < 0:
        # Version 0 has only one timeout.
        rebalance_timeout_ms = request.session_timeout_ms
    return JoinRequest(
        group_id=request.group_id,
        member_id=request.member_id,
        group_instance_id=request.group_instance_id,
        client_id=context.client_id or "",
        client_host=context.host,
        session_timeout_ms=request.session_timeout_ms,
        rebalance_timeout_ms=rebalance_timeout_ms,
        protocol_type=request.protocol_type,
        protocols=tuple(MemberProtocol(name, metadata) for name, metadata in protocols.items()),
        needs_known_member_id=context.version >= FIRST_VERSION_GIVING_MEMBER_ID,
        knows_skip_assignment=context.version >= FIRST_VERSION_SKIPPING_ASSIGNMENT,
    )


def _response(result: JoinResult, version: int) -> JoinGroupResponse:
    protocol = result.protocol
    if protocol is None and version < FIRST_VERSION_WITH_NULL_PROTOCOL:
        protocol = ""
    return JoinGroupResponse(
        error_code=result.error,
        generation_id=result.generation,
        protocol_type=result.protocol_type,
        protocol_name=protocol,
        leader=result.leader,
        skip_assignment=result.skip_assignment,
        member_id=result.member_id,
        members=[
            JoinGroupResponseMember(
                member_id=member.member_id,
                group_instance_id=member.group_instance_id,
                metadata=member.metadata,
            )
            for member in result.members
        ],
    )
