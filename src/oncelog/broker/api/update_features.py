"""UpdateFeatures (key 57, v0-2): finalize levels of features, all or none (KIP-584, KIP-1022).

There is one: transaction.version. ApiVersions tells the levels to clients.
Errors: INVALID_UPDATE_VERSION with a message that names the feature.
"""

from __future__ import annotations

from oncelog.broker.api._admin import brief
from oncelog.broker.context import Context
from oncelog.broker.registry import Api
from oncelog.machine.commands import AdminReply, FeatureUpdate, UpdateFeatures
from oncelog.wire.errors import ErrorCode
from oncelog.wire.messages.update_features import (
    FeatureUpdateKey,
    UpdatableFeatureResult,
    UpdateFeaturesRequest,
    UpdateFeaturesResponse,
)

API = Api(request=UpdateFeaturesRequest, response=UpdateFeaturesResponse)

LAST_VERSION_WITH_RESULTS = 1
MAY_DOWNGRADE = {1: False, 2: True, 3: True}
"""Upgrade types: upgrade, safe downgrade, unsafe downgrade."""


def handle(context: Context, request: UpdateFeaturesRequest) -> UpdateFeaturesResponse:
    """Finalize the levels, or only check them."""
    updates = tuple(
        FeatureUpdate(update.feature, update.max_version_level, _may_downgrade(update, context.version))
        for update in request.feature_updates
    )
    reply: AdminReply = context.broker.engine.execute(UpdateFeatures(updates, request.validate_only))
    response = UpdateFeaturesResponse(error_code=reply.error, error_message=brief(reply.message), results=[])
    if not reply.error and context.version <= LAST_VERSION_WITH_RESULTS:
        response.results = [
            UpdatableFeatureResult(feature=update.feature, error_code=ErrorCode.NONE, error_message="NONE")
            for update in updates
        ]
    return response


def _may_downgrade(update: FeatureUpdateKey, version: int) -> bool | None:
    return update.allow_downgrade if version == 0 else MAY_DOWNGRADE.get(update.upgrade_type)
