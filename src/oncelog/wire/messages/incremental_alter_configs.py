"""IncrementalAlterConfigs (key 44): request and response."""

from __future__ import annotations

from oncelog.wire.definition import Message, Struct, array, bool_, field, int8, int16, int32, string


class AlterableConfig(Struct):
    """One of the `configs` of AlterConfigsResource."""

    name: str = field(string)
    config_operation: int = field(int8)
    value: str | None = field(string, nullable="0+")


class AlterConfigsResource(Struct):
    """One of the `resources` of IncrementalAlterConfigsRequest."""

    resource_type: int = field(int8)
    resource_name: str = field(string)
    configs: list[AlterableConfig] = field(array(AlterableConfig))


class IncrementalAlterConfigsRequest(Message, api_key=44, versions="0-1", flexible="1+"):
    resources: list[AlterConfigsResource] = field(array(AlterConfigsResource))
    validate_only: bool = field(bool_)


class AlterConfigsResourceResponse(Struct):
    """One of the `responses` of IncrementalAlterConfigsResponse."""

    error_code: int = field(int16)
    error_message: str | None = field(string, nullable="0+")
    resource_type: int = field(int8)
    resource_name: str = field(string)


class IncrementalAlterConfigsResponse(Message, api_key=44, versions="0-1", flexible="1+"):
    throttle_time_ms: int = field(int32)
    responses: list[AlterConfigsResourceResponse] = field(array(AlterConfigsResourceResponse))
