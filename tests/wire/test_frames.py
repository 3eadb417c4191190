"""Headers of requests and responses, to the byte and against kio's header schemas."""

from __future__ import annotations

import struct

import pytest
from kio.index import load_request_schema, load_response_schema

from oncelog.wire import frames
from oncelog.wire.definition import DecodeError, Message
from oncelog.wire.flexible import first_flexible_version
from oncelog.wire.messages.api_versions import ApiVersion, ApiVersionsRequest, ApiVersionsResponse
from oncelog.wire.messages.fetch import FetchableTopicResponse, FetchResponse, PartitionData
from oncelog.wire.messages.heartbeat import HeartbeatRequest, HeartbeatResponse
from tests.wire import kio_oracle
from tests.wire.catalogue import MESSAGES, each_version, is_request, versions_of
from tests.wire.generating import full

CORRELATION_ID = 0x01020304


@each_version
def test_headers_are_kios(message: type[Message], version: int) -> None:
    """A frame is kio's header and body one after the other; and both headers are read back."""
    value = full(message, version)
    if is_request(message):
        header = load_request_schema(message.api_key, version).__header_schema__
        fields = {
            "request_api_key": message.api_key,
            "request_api_version": version,
            "correlation_id": CORRELATION_ID,
            "client_id": "client-é",
        }
        expected = kio_oracle.encode(header(**fields)) + value.encode(version)
        frame = frames.encode_request(CORRELATION_ID, "client-é", value, version)
        read = frames.decode_request_header(frame[4:])
        assert read[:4] == (message.api_key, version, CORRELATION_ID, "client-é")
        assert message.decode(frame[4:], version, read.body_offset) == value
    else:
        header = load_response_schema(message.api_key, version).__header_schema__
        expected = kio_oracle.encode(header(correlation_id=CORRELATION_ID)) + value.encode(version)
        frame = b"".join(frames.encode_response(CORRELATION_ID, value, version))
        assert frames.decode_response(message, frame[4:], version) == (CORRELATION_ID, value)
    assert frame == struct.pack(">i", len(expected)) + expected


def test_the_table_of_flexible_versions_is_that_of_the_messages() -> None:
    for message in MESSAGES:
        first = first_flexible_version(message.api_key)
        for version in versions_of(message):
            assert message.is_flexible(version) == (first is not None and version >= first)
    assert first_flexible_version(17) is None
    assert first_flexible_version(47) is None
    assert first_flexible_version(4711) is None


def test_api_versions_to_the_byte() -> None:
    """The flexible ApiVersions response keeps header v0: old clients must be able to read it (KIP-511)."""
    request = ApiVersionsRequest(client_software_name="a", client_software_version="1")
    assert frames.encode_request(7, "me", request, 3).hex(" ") == (
        "00 00 00 12  00 12 00 03 00 00 00 07  00 02 6d 65  00  02 61  02 31  00".replace("  ", " ")
    )
    response = ApiVersionsResponse(api_keys=[ApiVersion(api_key=0, min_version=3, max_version=13)])
    assert b"".join(frames.encode_response(7, response, 3)).hex(" ") == (
        "00 00 00 13  00 00 00 07  00 00  02 00 00 00 03 00 0d 00  00 00 00 00  00".replace("  ", " ")
    )
    heartbeat = b"".join(frames.encode_response(7, HeartbeatResponse(error_code=27), 4))
    assert heartbeat.hex(" ") == "00 00 00 0c 00 00 00 07 00 00 00 00 00 00 1b 00"


def test_a_client_without_an_id() -> None:
    frame = frames.encode_request(1, None, HeartbeatRequest(group_id="g"), 0)
    assert frames.decode_request_header(frame[4:]).client_id is None


def test_unknown_tagged_fields_of_headers_are_skipped() -> None:
    tags = bytes((2, 0, 3)) + b"abc" + bytes((0x81, 0x01, 0))  # tag 0 with 3 bytes, tag 129 with none
    head = struct.pack(">hhih", 12, 4, 9, 1) + b"c" + tags
    assert frames.decode_request_header(head + b"body").body_offset == len(head)
    body = HeartbeatResponse().encode(4)
    frame = struct.pack(">i", 9) + tags + body
    assert frames.decode_response(HeartbeatResponse, frame, 4) == (9, HeartbeatResponse())


def tagged(*parts: bytes) -> bytes:
    return struct.pack(">hhih", 12, 4, 9, -1) + b"".join(parts)


@pytest.mark.parametrize(
    "frame",
    [
        pytest.param(b"", id="empty"),
        pytest.param(struct.pack(">hhi", 12, 4, 9), id="no client id"),
        pytest.param(struct.pack(">hhih", 12, 3, 9, -2), id="negative client id length"),
        pytest.param(struct.pack(">hhih", 12, 3, 9, 5) + b"abcd", id="client id too short"),
        pytest.param(struct.pack(">hhih", 12, 3, 9, 2) + b"\xff\xfe", id="client id not UTF-8"),
        pytest.param(tagged(), id="no tagged section"),
        pytest.param(tagged(b"\x41", *(bytes((tag, 0)) for tag in range(65))), id="65 tagged fields"),
        pytest.param(tagged(b"\xff\xff\xff\xff\x0f"), id="absurd count of tagged fields"),
        pytest.param(tagged(b"\x01\x00\x05abcd"), id="tagged field too short"),
        pytest.param(tagged(b"\x01\x00\xff\xff\xff\xff\x7f"), id="tagged field beyond 32 bits"),
        pytest.param(tagged(b"\x01\x80\x80\x80\x80\x80\x01\x00"), id="tag of six bytes"),
        pytest.param(tagged(b"\x02\x01\x00\x01\x00"), id="the same tag twice"),
        pytest.param(tagged(b"\x02\x01\x00\x00\x00"), id="descending tags"),
        pytest.param(tagged(b"\x01\x00\x81\x80\x04", bytes(65_537)), id="65,537 bytes of tagged fields"),
    ],
)
def test_malformed_request_headers(frame: bytes) -> None:
    with pytest.raises(DecodeError):
        frames.decode_request_header(frame)


@pytest.mark.parametrize("frame", [b"", b"\0\0\0", b"\0\0\0\x01", b"\0\0\0\x01\x01\x00\x09"])
def test_malformed_response_headers(frame: bytes) -> None:
    with pytest.raises(DecodeError):
        frames.decode_response(HeartbeatResponse, frame, 4)


def test_records_of_a_large_response_are_not_copied() -> None:
    records = memoryview(bytes(20_000))
    partition = PartitionData(aborted_transactions=None, records=records)
    response = FetchResponse(responses=[FetchableTopicResponse(topic="t", partitions=[partition])])
    parts = frames.encode_response(1, response, 12)
    assert any(part is records for part in parts)
    (size,) = struct.unpack_from(">i", parts[0])
    assert size + 4 == sum(map(len, parts))
