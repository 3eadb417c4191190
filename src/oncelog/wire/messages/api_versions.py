"""ApiVersions (key 18): request and response."""

from __future__ import annotations

from oncelog.wire.definition import Message, Struct, array, bool_, field, int16, int32, int64, string


class ApiVersionsRequest(Message, api_key=18, versions="0-4", flexible="3+"):
    client_software_name: str = field(string, versions="3+", ignorable=True)
    client_software_version: str = field(string, versions="3+", ignorable=True)
    cluster_id: str | None = field(string, versions="5+", nullable="5+", default=None, ignorable=True)
    node_id: int = field(int32, versions="5+", default=-1, ignorable=True)


class ApiVersion(Struct):
    """One of the `api_keys` of ApiVersionsResponse."""

    api_key: int = field(int16)
    min_version: int = field(int16)
    max_version: int = field(int16)


class SupportedFeatureKey(Struct):
    """One of the `supported_features` of ApiVersionsResponse."""

    name: str = field(string, versions="3+")
    min_version: int = field(int16, versions="3+")
    max_version: int = field(int16, versions="3+")


class FinalizedFeatureKey(Struct):
    """One of the `finalized_features` of ApiVersionsResponse."""

    name: str = field(string, versions="3+")
    max_version_level: int = field(int16, versions="3+")
    min_version_level: int = field(int16, versions="3+")


class ApiVersionsResponse(Message, api_key=18, versions="0-4", flexible="3+"):
    error_code: int = field(int16)
    api_keys: list[ApiVersion] = field(array(ApiVersion))
    throttle_time_ms: int = field(int32, versions="1+", ignorable=True)
    supported_features: list[SupportedFeatureKey] = field(
        array(SupportedFeatureKey), versions="3+", tag=0, tagged="3+", ignorable=True
    )
    finalized_features_epoch: int = field(
        int64, versions="3+", default=-1, tag=1, tagged="3+", ignorable=True
    )
    finalized_features: list[FinalizedFeatureKey] = field(
        array(FinalizedFeatureKey), versions="3+", tag=2, tagged="3+", ignorable=True
    )
    zk_migration_ready: bool = field(bool_, versions="3+", default=False, tag=3, tagged="3+", ignorable=True)
