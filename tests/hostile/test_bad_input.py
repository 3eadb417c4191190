"""Single cases of hostile input: each ends with Kafka's error or a closed connection, one log line, and a
broker that serves others as before. Limits are small here, so that reaching them takes no time.
"""

from __future__ import annotations

import contextlib
import gzip
import random
import re
import socket
import ssl
import struct
from collections import Counter
from collections.abc import Iterator

import pytest

from oncelog.wire.codec import uvarint
from oncelog.wire.errors import ErrorCode
from oncelog.wire.messages.api_versions import ApiVersionsRequest
from oncelog.wire.messages.create_topics import CreatableTopic, CreatableTopicConfig, CreateTopicsRequest
from oncelog.wire.messages.describe_configs import DescribeConfigsRequest, DescribeConfigsResource
from oncelog.wire.messages.describe_groups import DescribeGroupsRequest
from oncelog.wire.messages.join_group import JoinGroupRequest, JoinGroupRequestProtocol
from oncelog.wire.messages.metadata import MetadataRequest, MetadataRequestTopic
from oncelog.wire.messages.offset_fetch import (
    OffsetFetchRequest,
    OffsetFetchRequestGroup,
    OffsetFetchRequestTopics,
)
from tests.hostile.sweep import faults_in, resident_bytes
from tests.support.batches import batch, record
from tests.support.raw import ConnectionClosed, RawConnection
from tests.support.server import ServerProcess
from tests.support.speaking import fetch_request, log_end_offset, produce
from tests.support.topics import create_topic
from tests.support.waiting import wait_for

FRAME_BYTES_MAX = 8 << 20
CONNECTIONS_MAX = 40
TOPIC = "bystander"
METADATA, PRODUCE, API_VERSIONS, DESCRIBE_GROUPS = 3, 0, 18, 15


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    options = (
        *("--socket-request-max-bytes", str(FRAME_BYTES_MAX)),
        *("--max-connections", str(CONNECTIONS_MAX)),
        *("--frame-deadline-ms", "500"),
        *("--write-buffer-bytes", "64KiB"),
        *("--write-stall-ms", "500"),
        *("--unanswered-requests", "16"),
        *("--closed-connections-logged", "1000"),
    )
    with ServerProcess(tmp_path_factory.mktemp("hostile") / "data", options=options) as running:
        create_topic(running.bootstrap, TOPIC, 1, {})
        yield running
        assert faults_in(running.output()) == []


@pytest.fixture
def attack(server: ServerProcess) -> Iterator[RawConnection]:
    """A connection for bad input; afterwards the broker must serve another client as before."""
    connection = RawConnection(server.bootstrap)
    yield connection
    connection.close()
    good = RawConnection(server.bootstrap)
    before = log_end_offset(good, TOPIC)
    assert produce(good, TOPIC, batch()).base_offset == before
    good.close()
    assert server.is_running


def lines_about(server: ServerProcess, port: int) -> list[str]:
    return re.findall(rf"connection of 127\.0\.0\.1:{port} closed: .*", server.output())


def local_port(connection: RawConnection) -> int:
    port: int = connection._socket.getsockname()[1]
    return port


def closed_with_one_line(server: ServerProcess, connection: RawConnection) -> str:
    """The log line that tells why the broker closed this connection; there must be exactly one.

    A broker that says only so many a second counts the rest, so another test may have used up the second.
    """
    assert connection.is_closed_by_broker()
    port = local_port(connection)

    def told() -> str | None:
        lines = lines_about(server, port)
        assert len(lines) <= 1, lines
        return lines[0] if lines else None

    return wait_for(told, f"a log line about port {port}", 5.0)


def header(api_key: int, version: int, *, flexible: bool = False) -> bytes:
    return struct.pack(">hhih", api_key, version, 1, -1) + (b"\0" if flexible else b"")


# -- sizes --


@pytest.mark.parametrize("size", [-1, -(2**31), FRAME_BYTES_MAX + 1, 2**31 - 1])
def test_a_size_out_of_bounds_closes_the_connection(
    server: ServerProcess, attack: RawConnection, size: int
) -> None:
    attack.send_bytes(struct.pack(">i", size))
    assert "socket.request.max.bytes" in closed_with_one_line(server, attack)


@pytest.mark.parametrize("size", range(10))
def test_a_frame_shorter_than_its_header_closes_the_connection(
    server: ServerProcess, attack: RawConnection, size: int
) -> None:
    attack.send_frame(bytes(size))
    assert closed_with_one_line(server, attack)


def test_an_announced_size_takes_no_memory(server: ServerProcess, attack: RawConnection) -> None:
    before = resident_bytes(server.process_id)
    others = [RawConnection(server.bootstrap) for _ in range(20)]
    for connection in others:
        connection.send_bytes(struct.pack(">i", FRAME_BYTES_MAX) + b"\0" * 10)
    attack.send(ApiVersionsRequest(), 0)
    attack.receive()
    assert resident_bytes(server.process_id) - before < FRAME_BYTES_MAX
    for connection in others:
        assert connection.is_closed_by_broker(), "half a frame has its time"
        connection.close()


# -- what is no Kafka at all --


def test_http_closes_the_connection(server: ServerProcess, attack: RawConnection) -> None:
    attack.send_bytes(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert closed_with_one_line(server, attack)


def test_tls_on_the_plain_port_closes_the_connection(server: ServerProcess, attack: RawConnection) -> None:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.create_default_context()
    hello = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        hello.do_handshake()
    attack.send_bytes(outgoing.read())
    assert closed_with_one_line(server, attack)


def test_garbage_closes_the_connection(server: ServerProcess, attack: RawConnection) -> None:
    attack.send_frame(b"\xff" * 1000)
    assert closed_with_one_line(server, attack)


def test_log_lines_cannot_be_forged(server: ServerProcess, attack: RawConnection) -> None:
    forged = b"\n2026-01-01 00:00:00,000 ERROR oncelog forged\x1b[31m"
    client_id = struct.pack(">h", len(forged)) + forged
    attack.send_frame(struct.pack(">hhi", 999, 0, 1) + client_id)
    closed_with_one_line(server, attack)
    assert "forged" not in server.output()
    assert "\x1b" not in server.output()


# -- counts and tags --

A_MILLION = 1 << 20


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(uvarint(2**31), id="more topics than fit into the frame"),
        pytest.param(uvarint(2**32 - 1), id="the largest count"),
        pytest.param(b"\xff" * 10, id="an endless varint"),
        pytest.param(b"\x02\x00", id="half a topic"),
        pytest.param(b"\x02\xff\xff\xff\xff\x0f", id="a name longer than the frame"),
    ],
)
def test_absurd_counts_close_the_connection(
    server: ServerProcess, attack: RawConnection, body: bytes
) -> None:
    attack.send_frame(header(METADATA, 9, flexible=True) + body)
    assert closed_with_one_line(server, attack)


@pytest.mark.parametrize("count", [-2, 2**31 - 1])
def test_absurd_counts_of_old_versions_close_the_connection(
    server: ServerProcess, attack: RawConnection, count: int
) -> None:
    attack.send_frame(header(METADATA, 1) + struct.pack(">i", count) + b"\0" * 8)
    assert closed_with_one_line(server, attack)


@pytest.mark.parametrize(
    "tags",
    [
        pytest.param(uvarint(65) + b"".join(uvarint(n) + b"\0" for n in range(65)), id="too many"),
        pytest.param(uvarint(2**31), id="a count without tags"),
        pytest.param(b"\x02\x05\x00\x05\x00", id="twice the same"),
        pytest.param(b"\x02\x05\x00\x04\x00", id="descending"),
        pytest.param(b"\x01\x05" + uvarint(70_000) + bytes(70_000), id="too long"),
        pytest.param(b"\x01\x05\xff\xff\xff\xff\x0f", id="longer than the frame"),
    ],
)
def test_tag_bombs_close_the_connection(server: ServerProcess, attack: RawConnection, tags: bytes) -> None:
    attack.send_frame(header(METADATA, 9, flexible=True) + b"\x01\0\0\0" + tags)
    assert closed_with_one_line(server, attack)


@pytest.mark.parametrize(
    "frame",
    [
        pytest.param(
            header(METADATA, 9, flexible=True) + uvarint(A_MILLION + 1) + b"\1\0" * A_MILLION + b"\0\0\0\0",
            id="topics without names",
        ),
        pytest.param(
            header(DESCRIBE_GROUPS, 5, flexible=True) + uvarint(A_MILLION + 1) + b"\1" * A_MILLION + b"\0\0",
            id="groups without names",
        ),
        pytest.param(
            header(PRODUCE, 9, flexible=True)
            + b"\0\0\1\0\0\0\0"
            + uvarint(A_MILLION + 1)
            + b"\1\1\0" * A_MILLION
            + b"\0",
            id="produced topics without partitions",
        ),
        pytest.param(
            header(PRODUCE, 8)
            + b"\xff\xff\0\1\0\0\0\0\0\0\0\1\0\1x"
            + struct.pack(">i", A_MILLION)
            + b"\0\0\0\0\xff\xff\xff\xff" * (A_MILLION - 1000),
            id="partitions without records",
        ),
    ],
)
def test_a_million_small_elements_close_the_connection(
    server: ServerProcess, attack: RawConnection, frame: bytes
) -> None:
    """They fit into the frame; as values they would take a hundred times its bytes."""
    before = resident_bytes(server.process_id)
    attack.send_frame(frame)
    assert "elements" in closed_with_one_line(server, attack)
    assert resident_bytes(server.process_id) - before < 64 << 20


# -- little to ask for, much to answer --


def test_many_descriptions_are_answered_by_one_bounded_answer(attack: RawConnection) -> None:
    """Sixty thousand times the configs of a topic are a gigabyte; a million small pieces are one frame."""
    resources = [
        DescribeConfigsResource(resource_type=2, resource_name=TOPIC, configuration_keys=None)
        for _ in range(60_000)
    ]
    answer = attack.call(DescribeConfigsRequest(resources=resources, include_synonyms=True), 4)
    errors = Counter(each.error_code for each in answer.results)
    assert errors[ErrorCode.NONE] == 2000
    assert errors[ErrorCode.POLICY_VIOLATION] == 58_000


def test_what_is_asked_for_again_and_again_is_answered_once(attack: RawConnection) -> None:
    groups = attack.call(DescribeGroupsRequest(groups=["a group"] * 10_000), 5).groups
    assert [group.group_id for group in groups] == ["a group"]
    topics = [OffsetFetchRequestTopics(name=TOPIC, partition_indexes=[0] * 1000) for _ in range(50)]
    asked = [OffsetFetchRequestGroup(group_id="a group", topics=topics) for _ in range(2)]
    (group,) = attack.call(OffsetFetchRequest(groups=asked), 8).groups
    assert sum(len(topic.partitions) for topic in group.topics) == 1


# -- names --

LONG = "n" * 32_767


def test_a_long_name_is_answered_briefly(attack: RawConnection) -> None:
    topics = [CreatableTopic(name=LONG, num_partitions=1, replication_factor=1)]
    (answer,) = attack.call(CreateTopicsRequest(topics=topics, timeout_ms=1000), 4).topics
    assert answer.error_code == ErrorCode.INVALID_TOPIC_EXCEPTION
    assert len(answer.error_message) < 2000


def test_a_long_config_value_is_answered_briefly(attack: RawConnection) -> None:
    configs = [CreatableTopicConfig(name="retention.ms", value=LONG)]
    topics = [CreatableTopic(name="other", num_partitions=1, replication_factor=1, configs=configs)]
    (answer,) = attack.call(CreateTopicsRequest(topics=topics, timeout_ms=1000), 4).topics
    assert answer.error_code == ErrorCode.INVALID_CONFIG
    assert len(answer.error_message) < 2000


def test_configs_of_a_long_name_are_answered_briefly(attack: RawConnection) -> None:
    resources = [DescribeConfigsResource(resource_type=4, resource_name=LONG, configuration_keys=None)]
    (answer,) = attack.call(DescribeConfigsRequest(resources=resources), 1).results
    assert answer.error_code == ErrorCode.INVALID_REQUEST
    assert len(answer.error_message) < 2000


def test_a_compact_string_is_no_longer_than_any_other(server: ServerProcess, attack: RawConnection) -> None:
    """What comes in by a new version must go out by an old one."""
    attack.send(MetadataRequest(topics=[MetadataRequestTopic(name=LONG + "n")]), 9)
    assert "too long" in closed_with_one_line(server, attack)


def test_a_long_client_id_gives_a_member_id_that_fits(attack: RawConnection) -> None:
    request = JoinGroupRequest(
        group_id="of a long client",
        session_timeout_ms=10_000,
        rebalance_timeout_ms=10_000,
        protocol_type="consumer",
        protocols=[JoinGroupRequestProtocol(name="range", metadata=b"")],
    )
    attack.send_bytes(attack.encode(request, 5, client_id=LONG))
    answer = attack.receive()
    assert answer.error_code == ErrorCode.MEMBER_ID_REQUIRED
    assert answer.member_id.startswith("nnn")


# -- clients that stop --


@pytest.mark.parametrize(
    "part", [b"\0", b"\0\0\0", struct.pack(">i", 100), struct.pack(">i", 100) + b"\0" * 99]
)
def test_half_a_frame_is_closed_when_its_time_is_up(
    server: ServerProcess, attack: RawConnection, part: bytes
) -> None:
    attack.send_bytes(part)
    assert "half a frame" in closed_with_one_line(server, attack)


def test_a_trickle_does_not_lengthen_the_time_of_a_frame(
    server: ServerProcess, attack: RawConnection
) -> None:
    attack.send_bytes(struct.pack(">i", 1_000_000))

    def trickle() -> list[str]:
        with contextlib.suppress(OSError):
            attack.send_bytes(b"\0")
        return lines_about(server, local_port(attack))

    (line,) = wait_for(trickle, "the end of a client that trickles")
    assert "half a frame" in line


def slow_reader(server: ServerProcess) -> RawConnection:
    """A connection whose receiving buffer is small, so that the broker notices soon that it isn't read."""
    connection = RawConnection(server.bootstrap)
    connection._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    return connection


def test_a_client_that_reads_nothing_is_closed_and_costs_little(
    server: ServerProcess, attack: RawConnection
) -> None:
    assert produce(attack, TOPIC, batch([bytes(100_000)])).error_code == 0
    stalled = slow_reader(server)
    before = resident_bytes(server.process_id)
    wanted = stalled.encode(fetch_request(TOPIC, 0, max_bytes=1_000_000), 11)
    stalled._socket.settimeout(0.2)
    with contextlib.suppress(OSError):
        for _ in range(3000):
            stalled.send_bytes(wanted)
    stalled._socket.settimeout(15.0)
    port = local_port(stalled)
    (line,) = wait_for(lambda: lines_about(server, port), "the end of a client that reads nothing")
    assert "it read nothing" in line
    assert resident_bytes(server.process_id) - before < 32 << 20
    stalled.close()


def test_many_requests_for_large_answers_are_answered_as_they_are_read(
    server: ServerProcess, attack: RawConnection
) -> None:
    """One burst of small requests must not fill the memory with their answers."""
    topics = [f"wide-{number}" for number in range(10)]
    for topic in topics:
        create_topic(server.bootstrap, topic, 500, {})
    before = resident_bytes(server.process_id)
    draw = random.Random(1)
    burst = b""
    for _ in range(300):
        # In an order of its own, so that no two answers are one and the same in memory.
        draw.shuffle(topics)
        wanted = MetadataRequest(topics=[MetadataRequestTopic(name=topic) for topic in topics])
        burst += attack.encode(wanted, 8)
    attack.send_bytes(burst)
    for number in range(300):
        assert len(attack.receive_frame()) > 150_000
        if number % 10 == 0:
            assert resident_bytes(server.process_id) - before < 28 << 20


# -- all connections together --


def test_half_requests_of_many_clients_are_bounded_together(server_in: ServerProcess) -> None:
    """Each of them is within its own limits; those that hold most have to go, the others are served."""
    server_in.options = ("--held-bytes", "5MiB")
    with server_in as server:
        small, others = RawConnection(server.bootstrap), []
        small.send_bytes(struct.pack(">i", 1_000_000) + bytes(1000))
        for _ in range(5):
            others.append(RawConnection(server.bootstrap))
            others[-1].send_bytes(struct.pack(">i", 10_000_000) + bytes(2 << 20))
        ports = [local_port(each) for each in others]

        def closed() -> int:
            return sum(len(lines_about(server, port)) for port in ports)

        wait_for(lambda: closed() == 3, "the end of three of the five")
        small.send_bytes(bytes(999_000))
        assert small.is_closed_by_broker(), "its request, now whole, is nonsense"
        assert "hold too many" not in str(lines_about(server, local_port(small)))
        assert closed() == 3


# -- connections --


def test_connections_beyond_the_limit_are_closed(server: ServerProcess, attack: RawConnection) -> None:
    opened = [RawConnection(server.bootstrap) for _ in range(CONNECTIONS_MAX - 1)]
    for connection in opened:
        connection.call(ApiVersionsRequest(), 0)
    one_more = RawConnection(server.bootstrap)
    assert "max.connections" in closed_with_one_line(server, one_more)
    one_more.close()
    attack.call(ApiVersionsRequest(), 0)
    for connection in opened:
        connection.close()

    def has_room() -> bool:
        again = RawConnection(server.bootstrap)
        try:
            again.call(ApiVersionsRequest(), 0)
        except (ConnectionClosed, OSError):
            return False
        finally:
            again.close()
        return True

    wait_for(has_room, "room for another connection")


def test_log_lines_are_limited(server_in: ServerProcess) -> None:
    """Hundreds of bad clients make no hundreds of lines; those without one are counted."""
    bad_clients = 300
    with server_in as server:
        for _ in range(bad_clients):
            bad = RawConnection(server.bootstrap)
            bad.send_frame(b"")
            assert bad.is_closed_by_broker()
            bad.close()

        def all_told() -> bool:
            told = len(re.findall("connection of .* closed: ", server.output()))
            untold = re.findall(r"without a line of their own: (\d+)", server.output())
            assert told < bad_clients
            return told + sum(map(int, untold)) == bad_clients

        wait_for(all_told, "lines that account for every bad client")


# -- batches that unpack to much --


@pytest.mark.parametrize(
    ("count", "named_count"),
    [
        pytest.param(100_000, 100, id="within a mebibyte the first are named"),
        pytest.param(500_000, 0, id="in what unpacks to more none is"),
    ],
)
def test_a_batch_of_very_many_wrong_records_is_refused_briefly(
    attack: RawConnection, count: int, named_count: int
) -> None:
    """A few kilobytes of gzip hold very many records; an error for each would be a hundred megabytes."""
    one = record(b"")
    packed = gzip.compress(one * count)
    spoiled = batch(
        [b""],
        attributes=1,
        records=packed,
        record_count=count,
        last_offset_delta=count - 1,
        timestamps_ms=[1 << 50],
    )
    assert len(spoiled) < 100_000
    answer = produce(attack, TOPIC, spoiled)
    assert answer.error_code == ErrorCode.INVALID_TIMESTAMP
    assert len(answer.record_errors) == named_count
