"""Frames: the headers around requests and responses, and their four size bytes.

Must not know sockets; a server or client hands in what it received and sends what it is given.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from oncelog.wire.codec import TAG_BYTES_MAX, TAGS_MAX, uvarint_rest
from oncelog.wire.definition import DecodeError, Message
from oncelog.wire.flexible import first_flexible_version

API_VERSIONS_KEY = 18
PARTS_MAX = 256
PART_BYTES_KEPT = 4096
"""Larger parts are not copied when many are joined."""
_FIXED = struct.Struct(">hhih")
_SIZE_AND_CORRELATION = struct.Struct(">ii")


class RequestHeader(NamedTuple):
    """Who asks for what; body_offset is where the request itself begins in the frame."""

    api_key: int
    api_version: int
    correlation_id: int
    client_id: str | None
    body_offset: int


def decode_request_header(frame: bytes) -> RequestHeader:
    """The header of a frame (without its size bytes). Raises DecodeError.

    Tagged fields follow in versions that are flexible; those of unknown APIs are not read.
    """
    try:
        api_key, api_version, correlation_id, length = _FIXED.unpack_from(frame)
        position = _FIXED.size
        client_id = None
        if length >= 0:
            end = position + length
            if end > len(frame):
                raise DecodeError("the client id ends too early")
            client_id = frame[position:end].decode()
            position = end
        elif length != -1:
            raise DecodeError("the client id has a negative length")
        flexible = first_flexible_version(api_key)
        if flexible is not None and api_version >= flexible:
            position = _skip_tags(frame, position)
    except (struct.error, IndexError, UnicodeDecodeError) as error:
        raise DecodeError(f"the request header is malformed: {error}") from None
    return RequestHeader(api_key, api_version, correlation_id, client_id, position)


def _skip_tags(frame: bytes, position: int) -> int:
    count = frame[position]
    position += 1
    if count == 0:
        return position
    if count > TAGS_MAX:
        raise DecodeError("too many tagged fields in the header")
    start = position
    last = -1
    for _ in range(count):
        tag, position = _read_uvarint(frame, position)
        if tag <= last:
            raise DecodeError("the tags of the header must ascend")
        last = tag
        size, position = _read_uvarint(frame, position)
        position += size
    if position > len(frame):
        raise DecodeError("a tagged field of the header ends too early")
    if position - start > TAG_BYTES_MAX:
        raise DecodeError("the tagged fields of the header are too long")
    return position


def _read_uvarint(frame: bytes, position: int) -> tuple[int, int]:
    value = frame[position]
    return (value, position + 1) if value < 128 else uvarint_rest(frame, position + 1, value)


def encode_response(correlation_id: int, response: Message, version: int) -> list[bytes | memoryview]:
    """A response as buffers: size, header, body. ApiVersions keeps header v0 in all versions (KIP-511)."""
    parts = response.encode_parts(version)
    has_tags = response.is_flexible(version) and response.api_key != API_VERSIONS_KEY
    size = 4 + has_tags + sum(map(len, parts))
    head = _SIZE_AND_CORRELATION.pack(size, correlation_id)
    if has_tags:
        head += b"\0"
    if size < 16_384:
        return [head + b"".join(parts)]
    if len(parts) > PARTS_MAX:
        return _gathered([head, *parts])
    return [head, *parts]


def _gathered(parts: list[bytes | memoryview]) -> list[bytes | memoryview]:
    """The same bytes with small neighbours joined: a large list is answered by a million pieces otherwise,
    each with a cost of its own, and no event loop writes more of them than that at once.
    """
    gathered: list[bytes | memoryview] = []
    small: list[bytes | memoryview] = []
    for part in parts:
        if len(part) < PART_BYTES_KEPT:
            small.append(part)
            continue
        gathered += (b"".join(small), part)
        small.clear()
    gathered.append(b"".join(small))
    return gathered


def encode_request(correlation_id: int, client_id: str | None, request: Message, version: int) -> bytes:
    """A whole request frame, size bytes included."""
    raw = b"" if client_id is None else client_id.encode()
    head = _FIXED.pack(request.api_key, version, correlation_id, -1 if client_id is None else len(raw)) + raw
    if request.is_flexible(version):
        head += b"\0"
    body = request.encode(version)
    return struct.pack(">i", len(head) + len(body)) + head + body


def decode_response(response: type[Message], frame: bytes, version: int) -> tuple[int, Message]:
    """(correlation id, response) of a frame without its size bytes. Raises DecodeError."""
    try:
        (correlation_id,) = struct.unpack_from(">i", frame)
        position = 4
        if response.is_flexible(version) and response.api_key != API_VERSIONS_KEY:
            position = _skip_tags(frame, position)
    except (struct.error, IndexError) as error:
        raise DecodeError(f"the response header is malformed: {error}") from None
    return correlation_id, response.decode(frame, version, position)
