"""DescribeGroups (key 15): request and response."""

from __future__ import annotations

from oncelog.wire.definition import Message, Struct, array, bool_, bytes_, field, int16, int32, string


class DescribeGroupsRequest(Message, api_key=15, versions="0-6", flexible="5+"):
    groups: list[str] = field(array(string))
    include_authorized_operations: bool = field(bool_, versions="3+")


class DescribedGroupMember(Struct):
    """One of the `members` of DescribedGroup."""

    member_id: str = field(string)
    group_instance_id: str | None = field(string, versions="4+", nullable="4+", default=None, ignorable=True)
    client_id: str = field(string)
    client_host: str = field(string)
    member_metadata: bytes = field(bytes_)
    member_assignment: bytes = field(bytes_)


class DescribedGroup(Struct):
    """One of the `groups` of DescribeGroupsResponse."""

    error_code: int = field(int16)
    error_message: str | None = field(string, versions="6+", nullable="6+", default=None)
    group_id: str = field(string)
    group_state: str = field(string)
    protocol_type: str = field(string)
    protocol_data: str = field(string)
    members: list[DescribedGroupMember] = field(array(DescribedGroupMember))
    authorized_operations: int = field(int32, versions="3+", default=-2147483648)


class DescribeGroupsResponse(Message, api_key=15, versions="0-6", flexible="5+"):
    throttle_time_ms: int = field(int32, versions="1+", ignorable=True)
    groups: list[DescribedGroup] = field(array(DescribedGroup))
