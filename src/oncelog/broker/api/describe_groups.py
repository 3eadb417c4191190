"""DescribeGroups (key 15, v0-6): states, protocols and members of groups.

An unknown group is "Dead"; from v6 on it has the error GROUP_ID_NOT_FOUND as well (KIP-1043).
Subscriptions and assignments are shown in a Stable group only. From v3 on with the operations that the
caller may do.
"""

from __future__ import annotations

from oncelog.broker.context import Context
from oncelog.broker.registry import Api
from oncelog.wire.errors import ErrorCode
from oncelog.wire.messages.describe_groups import (
    DescribedGroup,
    DescribedGroupMember,
    DescribeGroupsRequest,
    DescribeGroupsResponse,
)

API = Api(request=DescribeGroupsRequest, response=DescribeGroupsResponse)

FIRST_VERSION_TOLD_NOT_FOUND = 6
OPERATIONS_UNKNOWN = -(2**31)
# Bits of Kafka's AclOperation: READ, DELETE and DESCRIBE.
OPERATIONS_OF_GROUPS = 1 << 3 | 1 << 6 | 1 << 8


def handle(context: Context, request: DescribeGroupsRequest) -> DescribeGroupsResponse:
    """Describe each group that was asked for, once: some bytes of request must not cost a group each."""
    operations = OPERATIONS_OF_GROUPS if request.include_authorized_operations else OPERATIONS_UNKNOWN
    names = dict.fromkeys(request.groups)
    return DescribeGroupsResponse(groups=[_describe(context, name, operations) for name in names])


def _describe(context: Context, group_id: str, operations: int) -> DescribedGroup:
    group = context.broker.groups.describe(group_id)
    if group is None:
        dead = DescribedGroup(group_id=group_id, group_state="Dead", authorized_operations=operations)
        if context.version >= FIRST_VERSION_TOLD_NOT_FOUND:
            dead.error_code = ErrorCode.GROUP_ID_NOT_FOUND
            dead.error_message = f"Group {group_id} not found."
            dead.authorized_operations = OPERATIONS_UNKNOWN
        return dead
    return DescribedGroup(
        group_id=group_id,
        group_state=group.state,
        protocol_type=group.protocol_type,
        protocol_data=group.protocol,
        members=[
            DescribedGroupMember(
                member_id=member.member_id,
                group_instance_id=member.group_instance_id,
                client_id=member.client_id,
                client_host=member.client_host,
                member_metadata=member.metadata,
                member_assignment=member.assignment,
            )
            for member in group.members
        ],
        authorized_operations=operations,
    )
