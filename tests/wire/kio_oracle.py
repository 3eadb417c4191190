"""kio's schemas, made from Kafka's own definitions, as an oracle for our messages.

kio gives some fields Python types (durations, times, error codes, UUIDs); `to_kio` translates our values.
"""

from __future__ import annotations

import dataclasses
import datetime
import io
import uuid
from functools import cache
from types import NoneType
from typing import Any, get_args

from hypothesis import strategies as st
from kio.index import load_request_schema, load_response_schema
from kio.schema.errors import ErrorCode as KioErrorCode
from kio.serial import entity_reader, entity_writer

from oncelog.wire.definition import FieldSpec, Message, Struct
from tests.wire.catalogue import fields_in, is_request
from tests.wire.generating import Limits

EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
TIME_MS_MAX = (1 << 32) * 1000
"""kio computes times with floats, which lose milliseconds beyond."""
TIMEDELTA_MS_MAX = 86_399_999_999_999


@cache
def kio_class(message: type[Message], version: int) -> Any:
    """kio's class for that version. Raises where kio doesn't know it."""
    load = load_request_schema if is_request(message) else load_response_schema
    return load(message.api_key, version)


def kio_element(field: Any) -> Any:
    """The class of a nested struct or of a list's elements, without "or None"."""
    type_ = field.type
    while arguments := [each for each in get_args(type_) if each not in (NoneType, ...)]:
        type_ = arguments[0]
    return type_


def paired(cls: type[Struct], version: int, kio: Any) -> list[tuple[FieldSpec, Any]]:
    """Our fields and kio's, in the order of Kafka's definition."""
    return list(zip(fields_in(cls, version), dataclasses.fields(kio), strict=True))


def encode(value: Any) -> bytes:
    buffer = io.BytesIO()
    entity_writer(type(value))(buffer, value)
    return buffer.getvalue()


def decode(kio: Any, data: bytes) -> tuple[Any, int]:
    """(value, bytes that it took)."""
    value, size = entity_reader(kio)(data, 0)
    return value, size


def to_kio(value: Struct, version: int, kio: Any) -> Any:
    """Our value as one of kio's."""
    return kio(
        **{
            field.name: translate(getattr(value, spec.name), version, field)
            for spec, field in paired(type(value), version, kio)
        }
    )


def translate(value: Any, version: int, field: Any) -> Any:
    """A value of one of our fields as kio's field would hold it."""
    if value is None:
        return None
    if isinstance(value, list):
        return tuple(translate(each, version, field) for each in value)
    if isinstance(value, Struct):
        return to_kio(value, version, kio_element(field))
    match field.metadata["kafka_type"]:
        case "uuid":
            return uuid.UUID(bytes=value) if any(value) else None
        case "error_code":
            return KioErrorCode(value)
        case "timedelta_i32" | "timedelta_i64":
            return datetime.timedelta(milliseconds=value)
        case "datetime_i64":
            return None if value == -1 else EPOCH + datetime.timedelta(milliseconds=value)
        case _:
            return value


def limits_for(message: type[Message], version: int) -> Limits:
    """What kio's Python types can hold, field by field."""
    narrowed: dict[tuple[type[Struct], str], st.SearchStrategy[Any]] = {}

    def look(cls: type[Struct], kio: Any) -> None:
        for spec, field in paired(cls, version, kio):
            element = spec.type.element if spec.type.name == "array" else spec.type
            if not isinstance(element, type) and element.name == "struct":
                look(element.element, kio_element(field))
                continue
            match field.metadata["kafka_type"]:
                case "error_code":
                    narrowed[cls, spec.name] = st.sampled_from([int(each) for each in KioErrorCode])
                case "timedelta_i64":
                    narrowed[cls, spec.name] = st.integers(-TIMEDELTA_MS_MAX, TIMEDELTA_MS_MAX)
                case "datetime_i64":
                    times = st.integers(0, TIME_MS_MAX)
                    optional = NoneType in get_args(field.type)
                    narrowed[cls, spec.name] = times | st.just(-1) if optional else times

    look(message, kio_class(message, version))
    return lambda cls, spec: narrowed.get((cls, spec.name))
