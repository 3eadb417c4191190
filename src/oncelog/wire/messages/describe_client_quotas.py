"""DescribeClientQuotas (key 48): request and response."""

from __future__ import annotations

from oncelog.wire.definition import Message, Struct, array, bool_, field, float64, int8, int16, int32, string


class ComponentData(Struct):
    """One of the `components` of DescribeClientQuotasRequest."""

    entity_type: str = field(string)
    match_type: int = field(int8)
    match: str | None = field(string, nullable="0+")


class DescribeClientQuotasRequest(Message, api_key=48, versions="0-1", flexible="1+"):
    components: list[ComponentData] = field(array(ComponentData))
    strict: bool = field(bool_)


class EntityData(Struct):
    """One of the `entity` of EntryData."""

    entity_type: str = field(string)
    entity_name: str | None = field(string, nullable="0+")


class ValueData(Struct):
    """One of the `values` of EntryData."""

    key: str = field(string)
    value: float = field(float64)


class EntryData(Struct):
    """One of the `entries` of DescribeClientQuotasResponse."""

    entity: list[EntityData] = field(array(EntityData))
    values: list[ValueData] = field(array(ValueData))


class DescribeClientQuotasResponse(Message, api_key=48, versions="0-1", flexible="1+"):
    throttle_time_ms: int = field(int32)
    error_code: int = field(int16)
    error_message: str | None = field(string, nullable="0+")
    entries: list[EntryData] | None = field(array(EntryData), nullable="0+")
