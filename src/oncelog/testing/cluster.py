"""Topics on any cluster, Apache Kafka 2.4 or later: created, waited for and deleted by three requests.

One blocking connection per call, without TLS or SASL. Must not know pytest, nor which broker answers.
"""

from __future__ import annotations

import socket
import time
from types import TracebackType
from typing import NamedTuple, Self, TypeVar

from oncelog.broker.options import parse_address
from oncelog.wire import frames
from oncelog.wire.definition import Message
from oncelog.wire.errors import ErrorCode
from oncelog.wire.messages.create_topics import (
    CreatableTopic,
    CreatableTopicConfig,
    CreateTopicsRequest,
    CreateTopicsResponse,
)
from oncelog.wire.messages.delete_topics import DeleteTopicsRequest, DeleteTopicsResponse
from oncelog.wire.messages.metadata import MetadataRequest, MetadataRequestTopic, MetadataResponse

CLIENT_ID = "oncelog-testing"
TIMEOUT_S = 30.0
PAUSE_S = 0.02
CREATE_TOPICS_VERSION, DELETE_TOPICS_VERSION, METADATA_VERSION = 5, 4, 9
"""All that Apache Kafka 2.4 knows and 4.x still does; a later one would gain nothing here."""
BROKERS_DEFAULT = -1
KAFKA_PORT = 9092

R = TypeVar("R", bound=Message)


class ClusterError(RuntimeError):
    """A cluster did not do what a fixture needs; the message says what."""


class Cluster(NamedTuple):
    """A cluster that was there before the tests."""

    bootstrap: str


class _Connection:
    def __init__(self, bootstrap: str) -> None:
        try:
            self._socket = socket.create_connection(_address(bootstrap), TIMEOUT_S)
        except (OSError, ValueError) as error:
            raise ClusterError(f"cannot connect to {bootstrap}: {error}") from error
        self._stream = self._socket.makefile("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stream.close()
        self._socket.close()

    def call(self, request: Message, response: type[R], version: int) -> R:
        self._socket.sendall(frames.encode_request(1, CLIENT_ID, request, version))
        head = self._stream.read(4)
        frame = self._stream.read(int.from_bytes(head, "big"))
        if len(head) < 4 or len(frame) < int.from_bytes(head, "big"):
            raise ClusterError(f"the broker closed the connection at {type(request).__name__}")
        _, answer = frames.decode_response(response, frame, version)
        assert isinstance(answer, response)
        return answer


def _address(bootstrap: str) -> tuple[str, int]:
    """The first of the addresses. Without a port it is Kafka's, as clients have it. Raises ValueError."""
    first = bootstrap.split(",")[0].strip()
    has_port = ":" in first.rpartition("]")[2]
    found = parse_address(first if has_port else f"{first}:{KAFKA_PORT}")
    return found.host, found.port


def create_topic(bootstrap: str, name: str, partitions: int, configs: dict[str, str]) -> None:
    """Create a topic and return when it is served. Raises ClusterError."""
    topic = CreatableTopic(
        name=name,
        num_partitions=partitions,
        replication_factor=BROKERS_DEFAULT,
        configs=[CreatableTopicConfig(name=config, value=value) for config, value in configs.items()],
    )
    request = CreateTopicsRequest(topics=[topic], timeout_ms=int(TIMEOUT_S * 1000))
    with _Connection(bootstrap) as connection:
        answer = connection.call(request, CreateTopicsResponse, CREATE_TOPICS_VERSION)
        _raise_error(f"create topic {name!r}", answer.topics[0].error_code, answer.topics[0].error_message)
        deadline_s = time.monotonic() + TIMEOUT_S
        while not _is_served(connection, name):
            if time.monotonic() > deadline_s:
                raise ClusterError(f"topic {name!r} has no leaders {TIMEOUT_S:g} s after it was created")
            time.sleep(PAUSE_S)


def ensure_topic(bootstrap: str, name: str, partitions: int) -> None:
    """Create a topic where it is missing. Raises ClusterError."""
    with _Connection(bootstrap) as connection:
        if _is_served(connection, name):
            return
    create_topic(bootstrap, name, partitions, {})


def delete_topic(bootstrap: str, name: str) -> None:
    """Delete a topic, if it is there. Raises ClusterError."""
    request = DeleteTopicsRequest(topic_names=[name], timeout_ms=int(TIMEOUT_S * 1000))
    with _Connection(bootstrap) as connection:
        answer = connection.call(request, DeleteTopicsResponse, DELETE_TOPICS_VERSION)
    error = answer.responses[0].error_code
    if error != ErrorCode.UNKNOWN_TOPIC_OR_PARTITION:
        _raise_error(f"delete topic {name!r}", error, None)


def _is_served(connection: _Connection, name: str) -> bool:
    request = MetadataRequest(topics=[MetadataRequestTopic(name=name)], allow_auto_topic_creation=False)
    (topic,) = connection.call(request, MetadataResponse, METADATA_VERSION).topics
    return not topic.error_code and all(each.leader_id >= 0 for each in topic.partitions)


def _raise_error(what: str, code: int, message: str | None) -> None:
    if code:
        raise ClusterError(f"cannot {what}: {message or ErrorCode(code).name}")
