"""A request frame taken apart: every length, count, tag, number and text as a piece of its own.

Written from the protocol's rules and the declared fields, independent of the made encoders, with which a test
compares it. Must not know single APIs; mutations.py spoils what is made here.
"""

from __future__ import annotations

import struct
from typing import Any, NamedTuple

from oncelog.wire.codec import default_of, uvarint
from oncelog.wire.definition import FieldSpec, FieldType, Message, Struct

FIXED, LENGTH, VARINT_LENGTH, TEXT, BYTES, RECORDS, TAG_COUNT, MARK, KEY, VERSION = (
    "fixed",
    "length",
    "varint length",
    "text",
    "bytes",
    "records",
    "tag count",
    "mark",
    "api key",
    "version",
)


class Segment(NamedTuple):
    """One piece of a frame: what it is and its bytes. The frame is the pieces one after the other."""

    kind: str
    data: bytes


class _Writer:
    """Collects the segments of one message in one version."""

    def __init__(self, version: int, flexible: bool) -> None:
        self.segments: list[Segment] = []
        self.version = version
        self.flexible = flexible

    def add(self, kind: str, data: bytes) -> None:
        self.segments.append(Segment(kind, data))

    def length(self, length: int, is_short: bool) -> None:
        """length: -1 for null."""
        if self.flexible:
            self.add(VARINT_LENGTH, uvarint(length + 1))
        else:
            self.add(LENGTH, struct.pack(">h" if is_short else ">i", length))

    def struct(self, value: Struct) -> None:
        tagged = []
        for spec in value.fields:
            if spec.tag is not None and self.version in spec.tagged:
                tagged.append(spec)
            elif self.version in spec.versions:
                self.field(spec, getattr(value, spec.name))
        if self.flexible:
            self.tags(value, tagged)

    def tags(self, value: Struct, tagged: list[FieldSpec]) -> None:
        present = [spec for spec in tagged if not _is_default(spec, getattr(value, spec.name))]
        self.add(TAG_COUNT, uvarint(len(present)))
        for spec in sorted(present, key=lambda spec: spec.tag or 0):
            inner = _Writer(self.version, True)
            inner.field(spec, getattr(value, spec.name))
            self.add(VARINT_LENGTH, uvarint(spec.tag or 0))
            self.add(VARINT_LENGTH, uvarint(sum(len(each.data) for each in inner.segments)))
            self.segments += inner.segments

    def field(self, spec: FieldSpec, value: Any) -> None:
        if value is None:
            if spec.type.name == "struct":
                self.add(MARK, b"\xff")
            else:
                self.length(-1, spec.type.name == "string")
            return
        if spec.type.name == "struct" and self.version in spec.nullable:
            self.add(MARK, b"\x01")
        self.value(spec.type, value)

    def value(self, type_: FieldType, value: Any) -> None:
        if type_.format:
            self.add(FIXED, struct.pack(">" + type_.format, value))
        elif type_.name == "struct":
            self.struct(value)
        elif type_.name == "array":
            self.length(len(value), False)
            for item in value:
                self.value(type_.element, item)
        else:
            data = value.encode() if type_.name == "string" else bytes(value)
            self.length(len(data), type_.name == "string")
            self.add({"string": TEXT, "bytes": BYTES, "records": RECORDS}[type_.name], data)


def _is_default(spec: FieldSpec, value: Any) -> bool:
    default = default_of(spec)
    if spec.type.name == "struct" and default is not None:
        default = spec.type.element()
    return bool(value == default)


def request_segments(request: Message, version: int, correlation_id: int, client_id: str) -> list[Segment]:
    """The pieces of a request's frame, header included, without the four size bytes."""
    flexible = request.is_flexible(version)
    raw = client_id.encode()
    writer = _Writer(version, flexible)
    writer.add(KEY, struct.pack(">h", request.api_key))
    writer.add(VERSION, struct.pack(">h", version))
    writer.add(FIXED, struct.pack(">i", correlation_id))
    writer.add(LENGTH, struct.pack(">h", len(raw)))
    writer.add(TEXT, raw)
    if flexible:
        writer.add(TAG_COUNT, b"\0")
    writer.struct(request)
    return writer.segments


def joined(segments: list[Segment]) -> bytes:
    return b"".join([each.data for each in segments])
