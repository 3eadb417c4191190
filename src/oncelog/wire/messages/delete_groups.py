"""DeleteGroups (key 42): request and response."""

from __future__ import annotations

from oncelog.wire.definition import Message, Struct, array, field, int16, int32, string


class DeleteGroupsRequest(Message, api_key=42, versions="0-2", flexible="2+"):
    groups_names: list[str] = field(array(string))


class DeletableGroupResult(Struct):
    """One of the `results` of DeleteGroupsResponse."""

    group_id: str = field(string)
    error_code: int = field(int16)
    error_message: str | None = field(string, versions="3+", nullable="3+", default=None, ignorable=True)


class DeleteGroupsResponse(Message, api_key=42, versions="0-2", flexible="2+"):
    throttle_time_ms: int = field(int32)
    results: list[DeletableGroupResult] = field(array(DeletableGroupResult))
