"""Every limit of a connection by name and unit, with where its number comes from.

Memory and queue limits stop reading; only a broken frame or a passed deadline closes a connection (law 10).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """Limits of one connection and of all of them together.

    frame_bytes_max: Kafka's socket.request.max.bytes.
    unanswered_requests_max, unanswered_bytes_max: beyond these a connection is not read.
    request_elements_max: of all lists in one request; small elements become values of many times their bytes.
    write_buffer_bytes_max: replies that a client has not read; beyond it nothing more is started for it.
    held_bytes_max: of requests and replies of all connections together; beyond it those with most are closed.
    frame_deadline_s: from the first byte of a frame to its last, against clients that trickle.
    write_stall_s: how long a client may leave its replies unread beyond the buffer's limit.
    idle_s: Kafka's connections.max.idle.ms.
    refusals_logged_per_s: closed connections that get a log line of their own; the rest are counted.
    """

    connections_max: int = 20_000
    frame_bytes_max: int = 100 * 1024 * 1024
    unanswered_requests_max: int = 256
    unanswered_bytes_max: int = 8 * 1024 * 1024
    request_elements_max: int = 128 * 1024
    write_buffer_bytes_max: int = 8 * 1024 * 1024
    held_bytes_max: int = 1 << 30
    frame_deadline_s: float = 30.0
    write_stall_s: float = 60.0
    idle_s: float = 600.0
    refusals_logged_per_s: int = 10
