"""DeleteGroups (key 42, v0-2): forget groups without members, with their offsets, pending ones included.

Errors per group: GROUP_ID_NOT_FOUND, NON_EMPTY_GROUP; a message is kept for v3, which Kafka 4.3 does not
have yet.
"""

from __future__ import annotations

from oncelog.broker.context import Context
from oncelog.broker.registry import Api
from oncelog.wire.errors import ErrorCode
from oncelog.wire.messages.delete_groups import (
    DeletableGroupResult,
    DeleteGroupsRequest,
    DeleteGroupsResponse,
)

API = Api(request=DeleteGroupsRequest, response=DeleteGroupsResponse)

MESSAGES = {
    ErrorCode.GROUP_ID_NOT_FOUND: "The group does not exist.",
    ErrorCode.NON_EMPTY_GROUP: "The group still has members.",
}


def handle(context: Context, request: DeleteGroupsRequest) -> DeleteGroupsResponse:
    """Each group by itself; one that is named twice is answered once."""
    results = []
    for group_id in dict.fromkeys(request.groups_names):
        error = context.broker.groups.delete_group(group_id)
        results.append(
            DeletableGroupResult(group_id=group_id, error_code=error, error_message=MESSAGES.get(error))
        )
    return DeleteGroupsResponse(results=results)
