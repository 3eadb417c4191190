"""A small client that asks any cluster that speaks the Kafka protocol: one request after the other, blocking.

For commands that look at a cluster and are done. It knows who leads and who coordinates, picks versions, asks
again while a broker is not ready, and gives up in time. Bounded: one connection per broker, answers up to
64 MiB. It must not know what its callers want to see. PLAINTEXT only.
"""

from __future__ import annotations

import socket
import struct
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, NamedTuple, Self

from oncelog import __version__
from oncelog.wire import frames
from oncelog.wire.definition import DecodeError, Message
from oncelog.wire.errors import ErrorCode
from oncelog.wire.messages.api_versions import ApiVersionsRequest
from oncelog.wire.messages.find_coordinator import FindCoordinatorRequest
from oncelog.wire.messages.metadata import MetadataRequest, MetadataRequestTopic

CLIENT_ID = "oncelog-cli"
RESPONSE_BYTES_MAX = 64 << 20
FIRST_PAUSE_S, PAUSE_S_MAX = 0.05, 1.0
TRANSACTIONAL_ID = 1
"""FindCoordinator's type of key."""
FIRST_FINDING_MANY = 4
"""The version of FindCoordinator that takes a list (KIP-699)."""
NOT_READY = frozenset(
    {
        ErrorCode.LEADER_NOT_AVAILABLE,
        ErrorCode.NOT_LEADER_OR_FOLLOWER,
        ErrorCode.COORDINATOR_LOAD_IN_PROGRESS,
        ErrorCode.COORDINATOR_NOT_AVAILABLE,
        ErrorCode.NOT_COORDINATOR,
        ErrorCode.CONCURRENT_TRANSACTIONS,
    }
)


class ClusterError(Exception):
    """The cluster can't be asked, or refused; the message is a sentence for people."""


class Leader(NamedTuple):
    """A partition and the broker that leads it; -1 where none does."""

    topic: str
    partition: int
    node_id: int


class Cluster:
    """Connected to one of the brokers that `bootstrap` names (HOST:PORT, several with commas between)."""

    def __init__(self, bootstrap: str, timeout_s: float) -> None:
        self._deadline_s = time.monotonic() + timeout_s
        self._timeout_s = timeout_s
        self._addresses: dict[int, tuple[str, int]] = {}
        self._connections: dict[int, _Connection] = {}
        self._any = self._first_of(bootstrap)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        for connection in {id(each): each for each in (self._any, *self._connections.values())}.values():
            connection.close()

    # --- who is there ---

    def brokers(self) -> list[int]:
        """The ids of all brokers."""
        return sorted(self._learn(MetadataRequest(topics=[], allow_auto_topic_creation=False)))

    def leaders(self, topics: Sequence[str] | None) -> list[Leader]:
        """The partitions of these topics, or of all, in order. Raises ClusterError for a topic that isn't."""
        wanted = None if topics is None else [MetadataRequestTopic(name=name) for name in topics]
        answer = self._metadata(MetadataRequest(topics=wanted, allow_auto_topic_creation=False))
        found = []
        for topic in answer.topics:
            if topics is not None and topic.error_code:
                raise ClusterError(f"topic {topic.name}: {error_name(topic.error_code)}")
            found += [Leader(topic.name, each.partition_index, each.leader_id) for each in topic.partitions]
        return sorted(found)

    def coordinators(self, transactional_ids: Sequence[str]) -> dict[str, int]:
        """The broker that coordinates each of these transactional ids."""
        self.brokers()
        return {name: self._coordinator(name) for name in transactional_ids}

    def _coordinator(self, name: str) -> int:
        def ask() -> Any:
            version = self._any.version_for(FindCoordinatorRequest)
            if version >= FIRST_FINDING_MANY:
                request = FindCoordinatorRequest(key_type=TRANSACTIONAL_ID, coordinator_keys=[name])
                return self._any.call(request, version).coordinators[0]
            return self._any.call(FindCoordinatorRequest(key=name, key_type=TRANSACTIONAL_ID), version)

        answer = self.settled(ask, lambda answer: [answer.error_code])
        if answer.error_code:
            raise ClusterError(f"no coordinator of {name!r}: {error_name(answer.error_code)}")
        self._addresses.setdefault(answer.node_id, (answer.host, answer.port))
        return int(answer.node_id)

    def _metadata(self, request: MetadataRequest) -> Any:
        answer = self._any.call(request, self._any.version_for(MetadataRequest))
        self._addresses = {each.node_id: (each.host, each.port) for each in answer.brokers}
        return answer

    def _learn(self, request: MetadataRequest) -> Iterable[int]:
        self._metadata(request)
        return self._addresses

    # --- asking ---

    def ask(self, node_id: int, request: Message, *, at_least: int = 0) -> Any:
        """One broker's answer to a request, in the newest version that both sides know.

        Raises ClusterError, also where the broker doesn't know the version `at_least`.
        """
        connection = self._connection(node_id)
        return connection.call(request, connection.version_for(type(request), at_least))

    def settled(self, ask: Callable[[], Any], errors_of: Callable[[Any], Iterable[int]]) -> Any:
        """Ask until no broker says that it isn't ready, or until time is up; the last answer."""
        pause_s = FIRST_PAUSE_S
        while True:
            answer = ask()
            is_ready = not NOT_READY.intersection(errors_of(answer))
            if is_ready or time.monotonic() + pause_s > self._deadline_s:
                return answer
            time.sleep(pause_s)
            pause_s = min(pause_s * 2, PAUSE_S_MAX)

    def _connection(self, node_id: int) -> _Connection:
        if node_id not in self._connections:
            address = self._addresses.get(node_id)
            if address is None:
                raise ClusterError(f"there is no broker {node_id} in this cluster now")
            self._connections[node_id] = _Connection(*address, self._deadline_s)
        return self._connections[node_id]

    def _first_of(self, bootstrap: str) -> _Connection:
        failures = []
        for address in bootstrap.split(","):
            host, port = parse_address(address.strip())
            try:
                return _Connection(host, port, self._deadline_s)
            except ClusterError as failed:
                failures.append(str(failed))
        raise ClusterError("; ".join(failures))


def parse_address(address: str) -> tuple[str, int]:
    """HOST:PORT, with brackets around an IPv6 address. Raises ClusterError."""
    host, colon, port = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not (port.isascii() and port.isdigit()) or not 0 < int(port) < 65536:
        raise ClusterError(f"{address!r} is no HOST:PORT")
    return host, int(port)


def error_name(code: int) -> str:
    """Kafka's name of an error, or its number where it has none here."""
    with suppress(ValueError):
        return ErrorCode(code).name
    return f"error {code}"


# --- one connection ---


class _Connection:
    """Requests to one broker. Raises ClusterError for whatever goes wrong, with the address in it."""

    def __init__(self, host: str, port: int, deadline_s: float) -> None:
        self._address = f"{host}:{port}"
        self._deadline_s = deadline_s
        self._correlation_id = 0
        try:
            self._socket = socket.create_connection((host, port), self._seconds_left())
        except (OSError, UnicodeError) as failed:
            raise ClusterError(f"{self._address} can't be reached: {failed}") from None
        try:
            self._versions = self._ask_versions()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self._socket.close()

    def version_for(self, request: type[Message], at_least: int = 0) -> int:
        """The newest version of an API that both sides know."""
        name = request.__name__.removesuffix("Request")
        if request.api_key not in self._versions:
            raise ClusterError(f"{self._address} doesn't serve {name}")
        first, last = self._versions[request.api_key]
        version = min(last, request.versions[1])
        if version < max(first, at_least, request.versions[0]):
            wanted = max(at_least, request.versions[0])
            raise ClusterError(
                f"{self._address} serves {name} in versions {first} to {last}, but {wanted} is needed"
            )
        return version

    def call(self, request: Message, version: int) -> Any:
        """The answer to one request."""
        kind = type(request)
        response: type[Message] = getattr(
            sys.modules[kind.__module__], kind.__name__.removesuffix("Request") + "Response"
        )
        self._correlation_id += 1
        try:
            encoded = frames.encode_request(self._correlation_id, CLIENT_ID, request, version)
        except (ValueError, struct.error) as wrong:
            raise ClusterError(f"this can't be asked: {wrong}") from None
        try:
            self._socket.settimeout(self._seconds_left())
            self._socket.sendall(encoded)
            (size,) = struct.unpack(">i", self._receive(4))
            if not 0 <= size <= RESPONSE_BYTES_MAX:
                raise ClusterError(f"{self._address} does not speak the Kafka protocol, or not without TLS")
            correlation_id, answer = frames.decode_response(response, self._receive(size), version)
        except DecodeError as malformed:
            raise ClusterError(f"{self._address} answered what can't be read: {malformed}") from None
        except OSError as failed:
            raise ClusterError(f"{self._address}: {failed}") from None
        if correlation_id != self._correlation_id:
            raise ClusterError(f"{self._address} answered another request than was sent")
        return answer

    def _ask_versions(self) -> dict[int, tuple[int, int]]:
        """What the broker serves; asked in the first version, which every broker knows."""
        answer = self.call(
            ApiVersionsRequest(client_software_name=CLIENT_ID, client_software_version=__version__), 0
        )
        if answer.error_code:
            raise ClusterError(f"{self._address}: {error_name(answer.error_code)}")
        return {each.api_key: (each.min_version, each.max_version) for each in answer.api_keys}

    def _receive(self, size: int) -> bytes:
        received = bytearray()
        while len(received) < size:
            self._socket.settimeout(self._seconds_left())
            part = self._socket.recv(min(size - len(received), 1 << 20))
            if not part:
                raise ClusterError(f"{self._address} closed the connection")
            received += part
        return bytes(received)

    def _seconds_left(self) -> float:
        left_s = self._deadline_s - time.monotonic()
        if left_s <= 0:
            raise ClusterError(f"{self._address} took too long; --timeout-s gives it more time")
        return left_s
