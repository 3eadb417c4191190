"""LeaveGroup (key 13, v0-5): members leave at once, instead of when their sessions end.

Up to v2 one member; from v3 on a list, in which a static member may be named by its instance id alone
(KIP-345).
Errors, per member from v3 on: UNKNOWN_MEMBER_ID, FENCED_INSTANCE_ID; for the whole: INVALID_GROUP_ID.
"""

from __future__ import annotations

from oncelog.broker.context import Context
from oncelog.broker.groups import LeavingMember
from oncelog.broker.registry import Api
from oncelog.wire.messages.leave_group import LeaveGroupRequest, LeaveGroupResponse, MemberResponse

API = Api(request=LeaveGroupRequest, response=LeaveGroupResponse)

FIRST_VERSION_WITH_LIST = 3


def handle(context: Context, request: LeaveGroupRequest) -> LeaveGroupResponse:
    """Let the coordinator remove them, and begin one rebalance for all."""
    groups = context.broker.groups
    if context.version < FIRST_VERSION_WITH_LIST:
        result = groups.leave(request.group_id, (LeavingMember(request.member_id, None),))
        return LeaveGroupResponse(error_code=result.error or result.errors[0])
    leaving = tuple(LeavingMember(member.member_id, member.group_instance_id) for member in request.members)
    result = groups.leave(request.group_id, leaving)
    if result.error:
        return LeaveGroupResponse(error_code=result.error, members=[])
    return LeaveGroupResponse(
        members=[
            MemberResponse(
                member_id=member.member_id, group_instance_id=member.group_instance_id, error_code=error
            )
            for member, error in zip(leaving, result.errors, strict=True)
        ]
    )
