"""One connection: its frames, the order of its answers, and what makes the broker close it."""

from __future__ import annotations

import struct

import pytest

from oncelog.wire.errors import ErrorCode
from oncelog.wire.messages.api_versions import ApiVersionsRequest, ApiVersionsResponse
from oncelog.wire.messages.metadata import MetadataRequest, MetadataRequestTopic
from tests.support.batches import batch
from tests.support.fixtures import MakeTopic
from tests.support.raw import CLIENT_ID, OpenConnection, RawConnection
from tests.support.speaking import fetch_request, list_offset, log_end_offset, produce, produce_request

API_VERSIONS, METADATA = 18, 3


def metadata_of(topic: str) -> MetadataRequest:
    return MetadataRequest(topics=[MetadataRequestTopic(name=topic)], allow_auto_topic_creation=False)


def header(api_key: int, version: int, correlation_id: int = 1, *, flexible: bool = False) -> bytes:
    return struct.pack(">hhih", api_key, version, correlation_id, -1) + (b"\0" if flexible else b"")


# -- order --


def test_requests_sent_at_once_are_answered_in_order(
    connection: RawConnection, make_topic: MakeTopic
) -> None:
    topic = make_topic()
    glued = b""
    for number in range(100):
        if number % 3 == 0:
            glued += connection.encode(produce_request([(topic, 0, batch([b"%d" % number]))]), 11)
        elif number % 3 == 1:
            glued += connection.encode(metadata_of(topic), 9)
        else:
            glued += connection.encode(fetch_request(topic, 0), 11)
    connection.send_bytes(glued)
    for number in range(100):
        answer = connection.receive()
        if number % 3 == 0:
            assert answer.responses[0].partition_responses[0].base_offset == number // 3
        elif number % 3 == 1:
            assert answer.topics[0].name == topic
        else:
            assert answer.responses[0].partitions[0].high_watermark == number // 3 + 1


def test_a_waiting_fetch_holds_up_what_follows_it_and_no_other_connection(
    open_connection: OpenConnection, make_topic: MakeTopic
) -> None:
    topic = make_topic()
    waiting, other = open_connection(), open_connection()
    waiting.send(fetch_request(topic, 0, max_wait_ms=10_000), 11)
    waiting.send(metadata_of(topic), 9)
    assert waiting.is_silent(0.2)
    assert produce(other, topic, batch([b"here it is"])).base_offset == 0
    assert waiting.receive().responses[0].partitions[0].high_watermark == 1
    assert waiting.receive().topics[0].name == topic


def test_the_answer_to_a_later_request_sees_what_an_earlier_one_did(
    connection: RawConnection, make_topic: MakeTopic
) -> None:
    topic = make_topic()
    for _ in range(20):
        connection.send(produce_request([(topic, 0, batch([b"x"] * 5))]), 11)
        connection.send(fetch_request(topic, 0), 11)
    for number in range(20):
        assert connection.receive().responses[0].partition_responses[0].base_offset == number * 5
        assert connection.receive().responses[0].partitions[0].high_watermark == number * 5 + 5


# -- frames --


def test_a_frame_may_come_byte_by_byte(connection: RawConnection, make_topic: MakeTopic) -> None:
    topic = make_topic()
    for version in (3, 9):
        for byte in connection.encode(produce_request([(topic, 0, batch([b"split"]))]), version):
            connection.send_bytes(bytes([byte]))
        assert connection.receive().responses[0].partition_responses[0].error_code == 0
    assert log_end_offset(connection, topic) == 2


@pytest.mark.parametrize("cut", [1, 3, 4, 5, 20, -1])
def test_frames_may_be_cut_anywhere(connection: RawConnection, make_topic: MakeTopic, cut: int) -> None:
    """The end of one frame and the beginning of the next come together."""
    topic = make_topic()
    frames = [connection.encode(produce_request([(topic, 0, batch([b"%d" % n]))]), 11) for n in range(4)]
    data = b"".join(frames)
    place = len(frames[0])
    pieces = [data[: place + cut], data[place + cut : 2 * place + cut], data[2 * place + cut :]]
    for piece in pieces:
        connection.send_bytes(piece)
    for number in range(4):
        assert connection.receive().responses[0].partition_responses[0].base_offset == number


@pytest.mark.parametrize("correlation_id", [0, -1, 2**31 - 1, -(2**31)])
def test_a_correlation_id_comes_back_as_it_was(connection: RawConnection, correlation_id: int) -> None:
    connection.send_frame(header(API_VERSIONS, 0, correlation_id))
    assert struct.unpack_from(">i", connection.receive_frame()) == (correlation_id,)


@pytest.mark.parametrize("size", [-1, -(2**31), 2**31 - 1, 500_000_000])
def test_an_absurd_frame_size_closes_the_connection(connection: RawConnection, size: int) -> None:
    connection.send_bytes(struct.pack(">i", size) + b"\0" * 8)
    assert connection.is_closed_by_broker()


# -- what the broker does not know --


@pytest.mark.parametrize("api_key", [-1, 4, 5, 6, 7, 999, 32767])
def test_an_unknown_api_closes_the_connection(connection: RawConnection, api_key: int) -> None:
    connection.send_frame(header(api_key, 0) + b"\0" * 16)
    assert connection.is_closed_by_broker()


@pytest.mark.parametrize(
    ("api_key", "version"), [(0, 14), (1, 3), (1, 19), (2, 0), (3, 14), (19, 1), (22, 7), (26, 6)]
)
def test_an_unknown_version_closes_the_connection(
    connection: RawConnection, api_key: int, version: int
) -> None:
    connection.send_frame(header(api_key, version) + b"\0" * 16)
    assert connection.is_closed_by_broker()


@pytest.mark.parametrize("body", [b"", b"\x7f", b"\xff" * 40], ids=["empty", "one byte", "nonsense"])
def test_a_request_that_cannot_be_read_closes_the_connection(connection: RawConnection, body: bytes) -> None:
    connection.send_frame(header(METADATA, 9, flexible=True) + body)
    assert connection.is_closed_by_broker()


def test_a_bad_request_does_not_disturb_other_connections(
    open_connection: OpenConnection, make_topic: MakeTopic
) -> None:
    topic = make_topic()
    bad, good = open_connection(), open_connection()
    assert produce(good, topic, batch()).error_code == 0
    bad.send_frame(header(999, 0))
    assert bad.is_closed_by_broker()
    assert produce(good, topic, batch()).base_offset == 1


def test_unknown_tagged_fields_are_skipped(connection: RawConnection, make_topic: MakeTopic) -> None:
    topic = make_topic().encode()
    tags = b"\x02" + b"\x50\x03abc" + b"\x51\x00"
    flexible_header = struct.pack(">hhih", METADATA, 9, 7, len(CLIENT_ID)) + CLIENT_ID.encode() + tags
    body = b"\x02" + bytes([len(topic) + 1]) + topic + tags + b"\0\0\0" + tags
    connection.send_frame(flexible_header + body)
    assert topic in connection.receive_frame()


# -- ApiVersions --


@pytest.mark.parametrize("version", [6, 100, 32767])
def test_api_versions_of_an_unknown_version_is_answered_in_version_0(
    connection: RawConnection, version: int
) -> None:
    """So that a client of any age learns which versions there are."""
    connection.send_frame(header(API_VERSIONS, version, 5, flexible=True) + b"whatever")
    frame = connection.receive_frame()
    assert struct.unpack_from(">i", frame) == (5,)
    answer = ApiVersionsResponse.decode(frame[4:], 0)
    assert answer.error_code == ErrorCode.UNSUPPORTED_VERSION
    (row,) = answer.api_keys
    assert (row.api_key, row.min_version) == (API_VERSIONS, 0)
    assert row.max_version >= 4
    connection.send_frame(header(API_VERSIONS, 0, 6))
    assert struct.unpack_from(">i", connection.receive_frame()) == (6,), "the connection is as good as before"


@pytest.mark.parametrize("version", [0, 1, 2, 3, 4])
def test_api_versions_of_every_version(connection: RawConnection, version: int) -> None:
    request = ApiVersionsRequest(client_software_name="oncelog-tests", client_software_version="1.0")
    answer = connection.call(request, version)
    assert answer.error_code == 0
    rows = {row.api_key: (row.min_version, row.max_version) for row in answer.api_keys}
    assert rows[0][0] == 0, "Produce is listed from 0 on although 0 to 2 are refused"
    assert rows[0][1] >= 13
    assert rows[API_VERSIONS][0] == 0
    for api_key in (
        0,
        1,
        2,
        3,
        8,
        9,
        10,
        11,
        12,
        13,
        14,
        15,
        16,
        18,
        19,
        20,
        22,
        24,
        25,
        26,
        28,
        32,
        42,
        44,
        47,
    ):
        assert api_key in rows
    assert all(low <= high for low, high in rows.values())


@pytest.mark.parametrize("version", [3, 4])
def test_api_versions_tells_the_generation_of_transactions(connection: RawConnection, version: int) -> None:
    request = ApiVersionsRequest(client_software_name="oncelog-tests", client_software_version="1.0")
    answer = connection.call(request, version)
    finalized = {each.name: each.max_version_level for each in answer.finalized_features}
    assert finalized["transaction.version"] == 2
    assert answer.finalized_features_epoch >= 0
    supported = {each.name: (each.min_version, each.max_version) for each in answer.supported_features}
    if version == 3:
        assert all(low > 0 for low, _ in supported.values()), "KAFKA-17492: older clients trip over a 0"
    else:
        assert supported["transaction.version"] == (0, 2)


@pytest.mark.parametrize("name", ["", "-dash", "dash-", "spa ce", "ünïcode"])
def test_api_versions_checks_the_clients_name(connection: RawConnection, name: str) -> None:
    answer = connection.call(ApiVersionsRequest(client_software_name=name, client_software_version="1"), 3)
    assert answer.error_code == ErrorCode.INVALID_REQUEST


def test_nonsense_is_answered_or_closed_in_every_advertised_version(open_connection: OpenConnection) -> None:
    """It never hangs the connection (receiving would time out) and disturbs nobody else."""
    rows = open_connection().call(ApiVersionsRequest(), 0).api_keys
    for row in rows:
        for version in range(row.min_version, row.max_version + 1):
            probe = open_connection()
            probe.send_frame(header(row.api_key, version) + b"\xff")
            probe.is_closed_by_broker()
            probe.close()
    assert open_connection().call(ApiVersionsRequest(), 0).error_code == 0


def test_a_stranger_may_ask_for_anything_without_api_versions_first(
    connection: RawConnection, make_topic: MakeTopic
) -> None:
    assert list_offset(connection, make_topic(), -1).error_code == 0


def test_bytes_behind_a_request_are_ignored(connection: RawConnection, make_topic: MakeTopic) -> None:
    """librdkafka 2.16 sends three too many where it asks for the metadata of all topics."""
    topic = make_topic()
    for version in (9, 13):
        sized = connection.encode(metadata_of(topic), version)
        connection.send_frame(sized[4:] + b"\x01\x00\x00")
        assert connection.receive().topics[0].name == topic
