"""The level of transaction.version, as an admin changes it and as clients are told of it."""

from __future__ import annotations

from oncelog.wire.messages.api_versions import ApiVersionsRequest
from oncelog.wire.messages.update_features import FeatureUpdateKey, UpdateFeaturesRequest
from tests.support.raw import RawConnection
from tests.support.waiting import wait_for

TRANSACTION_VERSION = "transaction.version"
SAFE_DOWNGRADE = 2
UPGRADE = 1


def level(connection: RawConnection) -> int:
    """What ApiVersions tells; 0 where it tells nothing."""
    request = ApiVersionsRequest(client_software_name="tests", client_software_version="1")
    told = {each.name: each.max_version_level for each in connection.call(request, 4).finalized_features}
    return int(told.get(TRANSACTION_VERSION, 0))


def set_level(connection: RawConnection, wanted: int) -> None:
    """Up or down, and wait until clients are told of it."""
    kind = UPGRADE if wanted > level(connection) else SAFE_DOWNGRADE
    update = FeatureUpdateKey(feature=TRANSACTION_VERSION, max_version_level=wanted, upgrade_type=kind)
    answer = connection.call(UpdateFeaturesRequest(timeout_ms=10_000, feature_updates=[update]), 1)
    assert answer.error_code == 0, answer
    wait_for(lambda: level(connection) == wanted, f"level {wanted}")
