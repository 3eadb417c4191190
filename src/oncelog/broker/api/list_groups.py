"""ListGroups (key 16, v0-5): all groups with their protocol types, from v4 on with their states.

Filters by state (v4 on, KIP-518) and by type (v5 on, KIP-848), both whatever their case; every group here
is of type "classic". No errors.
"""

from __future__ import annotations

from oncelog.broker.context import Context
from oncelog.broker.registry import Api
from oncelog.wire.messages.list_groups import ListedGroup, ListGroupsRequest, ListGroupsResponse

API = Api(request=ListGroupsRequest, response=ListGroupsResponse)

GROUP_TYPE = "classic"


def handle(context: Context, request: ListGroupsRequest) -> ListGroupsResponse:
    """List the groups that pass both filters; an empty filter lets all pass."""
    states = {state.lower() for state in request.states_filter}
    types = {group_type.lower() for group_type in request.types_filter}
    if types and GROUP_TYPE not in types:
        return ListGroupsResponse(groups=[])
    return ListGroupsResponse(
        groups=[
            ListedGroup(
                group_id=group.group_id,
                protocol_type=group.protocol_type,
                group_state=group.state,
                group_type=GROUP_TYPE,
            )
            for group in context.broker.groups.all_groups()
            if not states or group.state.lower() in states
        ]
    )
