"""Every API and version against kio, whose classes are generated from Kafka's definitions.

The default run takes the systematic values and a few generated ones; ONCELOG_WIRE_EXAMPLES=200 takes 200
random ones for each API and version.
"""

from __future__ import annotations

import dataclasses
from types import NoneType
from typing import Any, get_args

from hypothesis import given

from oncelog.wire.codec import default_of
from oncelog.wire.definition import FieldSpec, Message, Struct
from tests.wire import kio_oracle
from tests.wire.catalogue import EVERY_VERSION, MESSAGES, each_version
from tests.wire.generating import full, generated, sparse, values

KIO_LACKS: dict[tuple[str, int], str] = {}
"""Versions that kio doesn't know, each with the reason; they would need golden bytes of their own."""


def known_to_kio(message: type[Message], version: int) -> bool:
    try:
        kio_oracle.kio_class(message, version)
    except Exception:
        return False
    return True


def test_kio_knows_every_version_that_is_not_listed_as_lacking() -> None:
    lacking = {
        (message.__name__, version)
        for message, version in EVERY_VERSION
        if not known_to_kio(message, version)
    }
    assert lacking == set(KIO_LACKS)


def test_there_are_messages() -> None:
    assert len(MESSAGES) >= 90
    assert len(EVERY_VERSION) >= 440


# --- declarations ---

RENAMED = {"generation_id": "generation_id_or_member_epoch"}
"""Fields that Kafka has given another name since kio's schema was made; a name is nothing on the wire."""


@each_version
def test_declares_what_kafka_declares(message: type[Message], version: int) -> None:
    kio = kio_oracle.kio_class(message, version)
    assert message.is_flexible(version) == kio.__flexible__
    assert message.api_key == kio.__api_key__
    assert list(_differences(message, version, kio)) == []


def _differences(cls: type[Struct], version: int, kio: Any) -> Any:
    for spec, field in kio_oracle.paired(cls, version, kio):
        where = f"{cls.__name__}.{spec.name}"
        kafka_type = field.metadata.get("kafka_type")
        if spec.name not in (field.name, f"{field.name}_ms", RENAMED.get(field.name)):
            yield f"{where} is called {field.name}"
        is_tagged = spec.tag is not None and version in spec.tagged
        if (spec.tag if is_tagged else None) != field.metadata.get("tag"):
            yield f"{where}: another tag, {field.metadata.get('tag')}"
        if _is_nullable(field, kafka_type) != (version in spec.nullable):
            yield f"{where}: null is allowed on one side only"
        element = spec.type.element if spec.type.name == "array" else spec.type
        if element.name == "struct":
            yield from _differences(element.element, version, kio_oracle.kio_element(field))
        elif _WIRE_TYPE.get(kafka_type, kafka_type) != element.name:
            yield f"{where}: {element.name} and not {kafka_type}"
        default = _default(spec)
        if field.default is not dataclasses.MISSING:
            if kio_oracle.translate(default, version, field) != field.default:
                yield f"{where}: default {default!r} and not {field.default!r}"
        elif default not in ([], spec.type.default) and spec.type.name != "struct":
            yield f"{where}: default {default!r} where Kafka has none"


_WIRE_TYPE = {
    "error_code": "int16",
    "timedelta_i32": "int32",
    "timedelta_i64": "int64",
    "datetime_i64": "int64",
}


def _is_nullable(field: Any, kafka_type: str | None) -> bool:
    # kio reads a zero UUID and the time -1 as None, which is no null on the wire.
    if kafka_type in ("uuid", "datetime_i64"):
        return get_args(field.type)[-1:] == (NoneType,) and get_args(field.type)[:1] == (tuple,)
    return NoneType in get_args(field.type)


def _default(spec: FieldSpec) -> Any:
    default = default_of(spec)
    return spec.type.element() if spec.type.name == "struct" and default is not None else default


# --- bytes ---


def check_both_ways(value: Any, version: int, kio: Any) -> None:
    expected = kio_oracle.to_kio(value, version, kio)
    ours = value.encode(version)
    theirs = kio_oracle.encode(expected)
    assert ours == theirs
    assert kio_oracle.decode(kio, ours) == (expected, len(ours))
    assert type(value).decode(theirs, version) == value
    assert b"".join(value.encode_parts(version)) == ours


@each_version
def test_systematic_values_both_ways(message: type[Message], version: int) -> None:
    kio = kio_oracle.kio_class(message, version)
    for value in (message(), sparse(message, version), full(message, version)):
        check_both_ways(value, version, kio)


@each_version
def test_generated_values_both_ways(message: type[Message], version: int) -> None:
    kio = kio_oracle.kio_class(message, version)
    limits = kio_oracle.limits_for(message, version)

    @generated()
    @given(values(message, version, limits))
    def check(value: Any) -> None:
        check_both_ways(value, version, kio)

    check()
