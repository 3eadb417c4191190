"""One TCP connection to a broker, frame by frame: for what no client library does.

Knows framing and the pairing of requests and responses; what requests mean is in tests/support/speaking.py.
"""

from __future__ import annotations

import socket
import struct
import sys
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

from oncelog.wire import frames
from oncelog.wire.definition import Message

CLIENT_ID = "oncelog-raw-tests"


class ConnectionClosed(AssertionError):
    """The broker closed the connection where a response was expected."""


class Due(NamedTuple):
    """A request that is not answered yet."""

    correlation_id: int
    response: type[Message]
    version: int


class RawConnection:
    """Sends and receives as the test likes; checks that answers come in the order of requests."""

    def __init__(self, bootstrap: str, timeout_s: float = 15.0) -> None:
        host, _, port = bootstrap.rpartition(":")
        self._socket = socket.create_connection((host.strip("[]"), int(port)), timeout_s)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._last_correlation_id = 0
        self._due: deque[Due] = deque()
        self.topic_ids: dict[str, bytes] = {}

    def close(self) -> None:
        self._socket.close()

    # -- bytes and frames --

    def send_bytes(self, data: bytes) -> None:
        self._socket.sendall(data)

    def send_frame(self, frame: bytes) -> None:
        self.send_bytes(struct.pack(">i", len(frame)) + frame)

    def receive_frame(self) -> bytes:
        (size,) = struct.unpack(">i", self._receive_bytes(4))
        return self._receive_bytes(size)

    def _receive_bytes(self, size: int) -> bytes:
        received = bytearray()
        while len(received) < size:
            try:
                part = self._socket.recv(size - len(received))
            except ConnectionResetError:
                part = b""
            if not part:
                raise ConnectionClosed(f"closed after {len(received)} of {size} bytes")
            received += part
        return bytes(received)

    def is_closed_by_broker(self) -> bool:
        """Wait for the broker to close the connection; False when it sends something instead."""
        try:
            return self._socket.recv(1) == b""
        except ConnectionResetError:
            return True

    def is_silent(self, for_s: float) -> bool:
        """Whether nothing comes for that long."""
        before = self._socket.gettimeout()
        self._socket.settimeout(for_s)
        try:
            return self._socket.recv(1, socket.MSG_PEEK) is None
        except TimeoutError:
            return True
        finally:
            self._socket.settimeout(before)

    # -- requests and responses --

    def encode(self, request: Message, version: int, *, client_id: str | None = CLIENT_ID) -> bytes:
        """The request with its header and size, noted as due."""
        self._last_correlation_id += 1
        self._due.append(Due(self._last_correlation_id, response_type(request), version))
        return frames.encode_request(self._last_correlation_id, client_id, request, version)

    def send(self, request: Message, version: int, *, expect_answer: bool = True) -> None:
        encoded = self.encode(request, version)
        if not expect_answer:
            self._due.pop()
        self.send_bytes(encoded)

    def receive(self) -> Any:
        """The response to the oldest request that is still due."""
        due = self._due.popleft()
        frame = self.receive_frame()
        correlation_id, response = frames.decode_response(due.response, frame, due.version)
        assert correlation_id == due.correlation_id, f"answered {correlation_id}, due was {due}"
        return response

    def call(self, request: Message, version: int) -> Any:
        assert not self._due, "answers to earlier requests are still due"
        self.send(request, version)
        return self.receive()


OpenConnection = Callable[[], RawConnection]


def response_type(request: Message) -> type[Message]:
    kind = type(request)
    found: type[Message] = getattr(sys.modules[kind.__module__], kind.__name__.replace("Request", "Response"))
    return found
