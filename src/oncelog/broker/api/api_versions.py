"""ApiVersions (key 18, v0-4): the APIs that this broker serves, and the features that it has.

Sources: KIP-35, KIP-584. A version that we do not know is answered in the form of v0, with our versions of
this API alone (KIP-511).
Errors: INVALID_REQUEST for a client's software name or version of another form (v3 on).
"""

from __future__ import annotations

import re

from oncelog.broker.context import Context
from oncelog.broker.registry import Api
from oncelog.machine.topics import FEATURES
from oncelog.wire.errors import ErrorCode
from oncelog.wire.messages.api_versions import (
    ApiVersion,
    ApiVersionsRequest,
    ApiVersionsResponse,
    FinalizedFeatureKey,
    SupportedFeatureKey,
)

API = Api(request=ApiVersionsRequest, response=ApiVersionsResponse)

FIRST_VERSION_WITH_FEATURES = 3
FIRST_VERSION_WITH_FEATURES_FROM_0 = 4
_SOFTWARE = re.compile(r"[a-zA-Z0-9](?:[a-zA-Z0-9\-.]*[a-zA-Z0-9])?\Z")


def handle(context: Context, request: ApiVersionsRequest) -> ApiVersionsResponse:
    """The table that the registry has made of all API files."""
    if context.version >= FIRST_VERSION_WITH_FEATURES and not (
        _SOFTWARE.match(request.client_software_name) and _SOFTWARE.match(request.client_software_version)
    ):
        return ApiVersionsResponse(error_code=ErrorCode.INVALID_REQUEST, api_keys=[])
    response = ApiVersionsResponse(
        api_keys=[
            ApiVersion(api_key=key, min_version=first, max_version=last)
            for key, first, last in context.broker.registry.table
        ]
    )
    if context.version >= FIRST_VERSION_WITH_FEATURES and context.broker.registry.has_features:
        _add_features(context, response)
    return response


def _add_features(context: Context, response: ApiVersionsResponse) -> None:
    """Clients that know only older versions trip over a range that begins at 0 (KAFKA-17492)."""
    state = context.broker.state
    response.supported_features = [
        SupportedFeatureKey(name=name, min_version=first, max_version=last)
        for name, (first, last) in FEATURES.items()
        if first > 0 or context.version >= FIRST_VERSION_WITH_FEATURES_FROM_0
    ]
    response.finalized_features_epoch = state.features_epoch
    response.finalized_features = [
        FinalizedFeatureKey(name=name, max_version_level=level, min_version_level=level)
        for name, level in sorted(state.feature_levels.items())
        if level > 0
    ]


def unsupported_version_response(first: int, last: int) -> ApiVersionsResponse:
    """What any client can read, whatever version it asked for: the versions of this API that are served."""
    row = ApiVersion(api_key=API.key, min_version=first, max_version=last)
    return ApiVersionsResponse(error_code=ErrorCode.UNSUPPORTED_VERSION, api_keys=[row])
