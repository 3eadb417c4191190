"""DescribeClientQuotas (key 48, v0-1): none, for nobody can set any (KIP-546).

A filter that no quota could match is refused as Kafka refuses it. Errors: INVALID_REQUEST,
UNSUPPORTED_VERSION for an unknown kind of entity.
"""

from __future__ import annotations

from collections.abc import Sequence

from oncelog.broker.api._admin import brief
from oncelog.broker.context import Context
from oncelog.broker.registry import Api
from oncelog.wire.errors import ErrorCode
from oncelog.wire.messages.describe_client_quotas import (
    ComponentData,
    DescribeClientQuotasRequest,
    DescribeClientQuotasResponse,
)

API = Api(request=DescribeClientQuotasRequest, response=DescribeClientQuotasResponse)

EXACT, DEFAULT, SPECIFIED = 0, 1, 2
USER, CLIENT_ID, IP = "user", "client-id", "ip"


def handle(_: Context, request: DescribeClientQuotasRequest) -> DescribeClientQuotasResponse:
    """No entries, whatever the filter."""
    wrong = _wrong_with(request.components)
    if wrong is None:
        return DescribeClientQuotasResponse(error_code=ErrorCode.NONE, error_message=None, entries=[])
    error, message = wrong
    return DescribeClientQuotasResponse(error_code=error, error_message=brief(message), entries=None)


def _wrong_with(components: Sequence[ComponentData]) -> tuple[ErrorCode, str] | None:
    """Why this filter is refused, in Kafka's words."""
    seen: set[str] = set()
    for component in components:
        kind = component.entity_type
        if not kind:
            return ErrorCode.INVALID_REQUEST, "Invalid empty entity type."
        if kind in seen:
            return (
                ErrorCode.INVALID_REQUEST,
                f"Entity type {kind} cannot appear more than once in the filter.",
            )
        seen.add(kind)
        if kind not in (USER, CLIENT_ID, IP):
            return ErrorCode.UNSUPPORTED_VERSION, f"Unsupported entity type {kind}"
        message = _wrong_match(component)
        if message is not None:
            return ErrorCode.INVALID_REQUEST, message
    if IP in seen and len(seen) > 1:
        return ErrorCode.INVALID_REQUEST, (
            "Invalid entity filter component combination. IP filter component should not be used with user "
            "or clientId filter component."
        )
    return None


def _wrong_match(component: ComponentData) -> str | None:
    if component.match_type == EXACT:
        if component.match is None:
            return "Request specified MATCH_TYPE_EXACT, but set match string to null."
        return None
    if component.match_type not in (DEFAULT, SPECIFIED):
        return f"Unknown match type {component.match_type}"
    if component.match is not None:
        name = "DEFAULT" if component.match_type == DEFAULT else "SPECIFIED"
        return f"Request specified MATCH_TYPE_{name}, but also specified a match string."
    return None
