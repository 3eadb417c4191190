"""One client connection: bytes to frames, frames to handlers, replies in request order.

Requests that need no waiting are decided as they arrive and in order; their replies wait for durability in
the engine's queue. A request that can wait starts only as the oldest unanswered one, and nothing behind it
starts before it is answered (Kafka mutes the channel likewise). Must not know single APIs beyond Produce's
place in the entry and the shape of an unanswerable ApiVersions.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, cast

from oncelog.broker.context import Context
from oncelog.broker.engine import EngineFailed
from oncelog.broker.limits import ConnectionLimits
from oncelog.broker.registry import PRODUCE_KEY, Route, Unprepared
from oncelog.wire.codec import decode_bounded
from oncelog.wire.definition import DecodeError, Message
from oncelog.wire.frames import RequestHeader, decode_request_header, encode_response

if TYPE_CHECKING:
    from oncelog.broker.broker import Broker
    from oncelog.broker.server import Server

log = logging.getLogger("oncelog.connection")

API_VERSIONS_KEY = 18
SIZE_BYTES = 4
CHUNKS_MAX = 1000
"""Pieces of a frame are joined before they are this many: a piece of a byte takes forty."""


class HostileInput(Exception):
    """The client broke the protocol; its connection is closed with one log line."""


class Slot:
    """The place of one reply in its connection's order."""

    __slots__ = ("buffers", "connection", "is_released", "reply_bytes", "size_bytes")

    def __init__(self, connection: Connection, size_bytes: int) -> None:
        self.connection = connection
        self.size_bytes = size_bytes
        self.reply_bytes = 0
        self.buffers: list[bytes | memoryview] | None = None
        self.is_released = False

    def release(self) -> None:
        """What the reply looked at is durable; it leaves with the next flush of its connection."""
        self.is_released = True
        self.connection.flush_later()


class Connection(asyncio.Protocol):
    """The protocol object of one accepted socket."""

    def __init__(
        self,
        server: Server,
        broker: Broker,
        limits: ConnectionLimits,
        connection_id: int,
        listener_address: tuple[str, int],
    ) -> None:
        self.id = connection_id
        self.listener_address = listener_address
        self._server = server
        self._broker = broker
        self._limits = limits
        self._transport: asyncio.Transport | None = None
        self._host = "/unknown"
        self._peer = "unknown"
        self._chunks: list[bytes] = []
        self._chunked_bytes = 0
        self._wanted_bytes = SIZE_BYTES
        self._frames: deque[bytes] = deque()
        self._slots: deque[Slot] = deque()
        self._unanswered_bytes = 0
        self._reply_bytes = 0
        self._is_waiting = False
        self._is_starting = False
        self._has_room = False
        self._is_reading = True
        self._is_closing = False
        self._flush_is_due = False
        self._frame_began_s: float | None = None
        self._write_stalled_s: float | None = None
        self._stalled_bytes = 0
        self._last_active_s = 0.0
        self.on_close: Callable[[], None] | None = None

    # --- asyncio's side ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are none of asyncio's classes, but do all that they do.
        self._transport = transport = cast(asyncio.Transport, transport)
        transport.set_write_buffer_limits(high=self._limits.write_buffer_bytes_max)
        peer = transport.get_extra_info("peername")
        if peer:
            self._host = f"/{peer[0]}"
            self._peer = f"{peer[0]}:{peer[1]}"
        self._last_active_s = self._server.now_s()
        if not self._server.register(self):
            self.abort("the limit of connections (max.connections) is reached")

    def connection_lost(self, exc: Exception | None) -> None:
        if exc is not None and not self._is_closing:
            level = logging.DEBUG if isinstance(exc, ConnectionError) else logging.WARNING
            self._server.log_refusal(level, self._peer, f"the system says: {exc}")
        self._is_closing = True
        self._frames.clear()
        self._chunks.clear()
        self._server.forget(self)
        on_close, self.on_close = self.on_close, None
        if on_close is not None:
            on_close()

    def pause_writing(self) -> None:
        self._write_stalled_s = self._server.now_s()
        self._stalled_bytes = self._unread_bytes()
        self._regulate_reading()

    def resume_writing(self) -> None:
        self._write_stalled_s = None
        self._stalled_bytes = 0
        self._start_requests()
        self._regulate_reading()

    def data_received(self, data: bytes) -> None:
        if self._is_closing:
            return
        self._last_active_s = self._server.now_s()
        try:
            self._split_frames(data)
        except HostileInput as hostile:
            self.abort(str(hostile))
            return
        except Exception as error:
            self.fault(error)
            return
        self._start_requests()
        self._regulate_reading()

    # --- bytes to frames ---

    def _split_frames(self, data: bytes) -> None:
        """Cut `data` into frames; what is incomplete is kept as chunks, joined once when it is whole.

        Memory grows with the bytes that came, never with the size that a client announced.
        """
        if self._chunks:
            self._chunks.append(data)
            self._chunked_bytes += len(data)
            if self._chunked_bytes < self._wanted_bytes:
                if len(self._chunks) > CHUNKS_MAX:
                    self._chunks = [b"".join(self._chunks)]
                return
            data = b"".join(self._chunks)
            self._chunks.clear()
            self._chunked_bytes = 0
        start = 0
        end = len(data)
        self._wanted_bytes = SIZE_BYTES
        self._frame_began_s = None
        while end - start >= SIZE_BYTES:
            size = int.from_bytes(data[start : start + SIZE_BYTES], "big", signed=True)
            if not 0 <= size <= self._limits.frame_bytes_max:
                raise HostileInput(
                    f"a frame of {size} bytes; the limit (socket.request.max.bytes) is "
                    f"{self._limits.frame_bytes_max}"
                )
            if end - start - SIZE_BYTES < size:
                self._wanted_bytes = SIZE_BYTES + size
                break
            start += SIZE_BYTES
            self._frames.append(data[start : start + size])
            self._unanswered_bytes += size
            start += size
        if start < end:
            self._chunks.append(data[start:] if start else data)
            self._chunked_bytes = end - start
            self._frame_began_s = self._last_active_s

    def _regulate_reading(self) -> None:
        """Read only while what is unanswered, and what the client has not read, stay within their limits."""
        limits = self._limits
        should_read = (
            self._write_stalled_s is None
            and len(self._frames) + len(self._slots) < limits.unanswered_requests_max
            and self._unanswered_bytes < limits.unanswered_bytes_max
        )
        if should_read == self._is_reading or self._transport is None or self._is_closing:
            return
        self._is_reading = should_read
        if should_read:
            if self._frame_began_s is not None:
                self._frame_began_s = self._server.now_s()
            self._transport.resume_reading()
        else:
            self._transport.pause_reading()

    # --- frames to handlers ---

    def _start_requests(self) -> None:
        """Start every request that may start now, in order."""
        if self._is_starting:
            return
        self._is_starting = True
        frames = self._frames
        try:
            while frames and not self._is_waiting and self._may_start():
                header = decode_request_header(frames[0])
                route = self._route(header)
                if route is None:
                    continue
                if route.waits and self._slots:
                    return
                if route.key == PRODUCE_KEY:
                    if not self._has_room and self._broker.engine.entry_is_full():
                        self._wait_for_room()
                        return
                    self._has_room = False
                route.requests += 1
                self._start(route, header, frames.popleft())
        except (DecodeError, HostileInput) as hostile:
            self.abort(str(hostile))
        except EngineFailed:
            self.abort("the broker has stopped", level=logging.DEBUG)
        except Exception as error:
            self.fault(error)
        finally:
            self._is_starting = False

    def _may_start(self) -> bool:
        """Whether the client has read enough of its replies, and is owed few enough, to be given more."""
        limits = self._limits
        return (
            self._write_stalled_s is None
            and self._reply_bytes < limits.write_buffer_bytes_max
            and len(self._slots) < limits.unanswered_requests_max
        )

    def _route(self, header: RequestHeader) -> Route | None:
        """The API that a request asks for; None when an ApiVersions of an unknown version was answered here.

        Kafka closes the connection on any other unknown API or version.
        """
        route = self._broker.registry.routes.get(header.api_key)
        if route is not None and route.min_version <= header.api_version <= route.max_version:
            return route
        if route is not None and header.api_key == API_VERSIONS_KEY and header.api_version >= 0:
            frame = self._frames.popleft()
            route.requests += 1
            slot = self._new_slot(len(frame))
            self._fill(slot, header.correlation_id, self._broker.unsupported_version_response(), 0)
            return None
        raise HostileInput(f"API key {header.api_key} version {header.api_version} is not served")

    def _wait_for_room(self) -> None:
        self._is_waiting = True
        self._broker.engine.wait_for_room(self._room_was_made)

    def _room_was_made(self) -> None:
        self._is_waiting = False
        # For the one produce that waited; those behind it come after others that wait.
        self._has_room = True
        self._start_requests()
        self._regulate_reading()

    def _start(self, route: Route, header: RequestHeader, frame: bytes) -> None:
        elements_max = self._limits.request_elements_max
        if len(frame) <= elements_max:
            request = route.decode(frame, header.api_version, header.body_offset, False)
        else:
            request = decode_bounded(
                route.api.request, frame, header.api_version, header.body_offset, False, elements_max
            )
        faults = self._broker.faults
        if faults is not None:
            route = faults.meet(self, self._broker.state, route, header, request)
        slot = self._new_slot(len(frame))
        context = Context(self._broker, self, header.api_version, header.client_id, self._host)
        if route.waits:
            self._is_waiting = True

            def respond(response: Message | None, position: int | None = None) -> None:
                self.on_close = None
                try:
                    if response is None:
                        self._fill_silently(slot)
                    else:
                        self._fill(slot, header.correlation_id, response, header.api_version, position)
                except Exception as error:
                    self.fault(error)
                    return
                self._is_waiting = False
                self._start_requests()
                self._regulate_reading()

            route.handle(context, request, respond)
            return
        self._answer(route, header, context, request, slot)

    def _answer(
        self, route: Route, header: RequestHeader, context: Context, request: Message, slot: Slot
    ) -> None:
        response = route.handle(context, request)
        if response is None:
            self._fill_silently(slot)
        elif isinstance(response, Unprepared):
            self._prepare(response, lambda: self._start_prepared(route, header, context, request, slot))
        else:
            self._fill(slot, header.correlation_id, response, header.api_version)

    def _prepare(self, unprepared: Unprepared, then: Callable[[], None]) -> None:
        """Hold back what is behind the request until it is prepared and decided."""

        is_done = False

        def done() -> None:
            nonlocal is_done
            is_done = True
            self.on_close = None
            then()

        self._is_waiting = True
        work = self._broker.turns.take(unprepared.steps, done, self.fault)
        if not is_done:
            self.on_close = work.cancel

    def _start_prepared(
        self,
        route: Route,
        header: RequestHeader,
        context: Context,
        request: Message,
        slot: Slot,
        has_room: bool = False,
    ) -> None:
        if self._is_closing:
            return
        if route.key == PRODUCE_KEY and not has_room and self._broker.engine.entry_is_full():
            self._broker.engine.wait_for_room(
                lambda: self._start_prepared(route, header, context, request, slot, has_room=True)
            )
            return
        self._is_waiting = False
        try:
            self._answer(route, header, context, request, slot)
        except EngineFailed:
            self.abort("the broker has stopped", level=logging.DEBUG)
            return
        except Exception as error:
            self.fault(error)
            return
        if not self._is_waiting:
            self._start_requests()
            self._regulate_reading()

    def _new_slot(self, size_bytes: int) -> Slot:
        slot = Slot(self, size_bytes)
        self._slots.append(slot)
        return slot

    def _fill_silently(self, slot: Slot) -> None:
        """A request without a reply (acks=0) counts, like any other, until what it did is durable."""
        slot.buffers = []
        engine = self._broker.engine
        engine.hold(slot, engine.stamp())

    # --- replies ---

    def _fill(
        self, slot: Slot, correlation_id: int, response: Message, version: int, position: int | None = None
    ) -> None:
        """Encode a reply and hold it until what it looked at is durable: all of the machine, unless it
        says up to which position it looked (Fetch, which reads the published view).
        """
        slot.buffers = encode_response(correlation_id, response, version)
        slot.reply_bytes = sum(map(len, slot.buffers))
        self._reply_bytes += slot.reply_bytes
        self._broker.errors.look_at(response)
        engine = self._broker.engine
        engine.hold(slot, engine.stamp() if position is None else position)

    def flush_later(self) -> None:
        """Write the released head of the replies once, with others that are released in this turn."""
        if not self._flush_is_due and not self._is_closing:
            self._flush_is_due = True
            self._server.flush_later(self)

    def flush(self) -> None:
        """Write every reply at the head of the order that may leave."""
        self._flush_is_due = False
        transport = self._transport
        if self._is_closing or transport is None:
            return
        slots = self._slots
        out: list[bytes | memoryview] = []
        while slots and slots[0].is_released:
            slot = slots.popleft()
            assert slot.buffers is not None, "a reply was released before it was filled"
            out += slot.buffers
            self._unanswered_bytes -= slot.size_bytes
            self._reply_bytes -= slot.reply_bytes
        if out:
            if len(out) == 1:
                transport.write(out[0])
            else:
                transport.writelines(out)
        if self._frames:
            self._start_requests()
        self._regulate_reading()

    @property
    def held_bytes(self) -> int:
        """What this connection keeps in memory: requests that came, in part too, and replies that wait."""
        return self._chunked_bytes + self._unanswered_bytes + self._reply_bytes + self._stalled_bytes

    def _unread_bytes(self) -> int:
        """Written, and not taken by the system yet."""
        return 0 if self._transport is None else self._transport.get_write_buffer_size()

    # --- the end ---

    def sweep(self, now_s: float) -> None:
        """Close the connection when it has outlived one of its limits."""
        limits = self._limits
        frame_began_s = self._frame_began_s if self._is_reading else None
        if frame_began_s is not None and now_s - frame_began_s > limits.frame_deadline_s:
            self.abort(f"half a frame for {limits.frame_deadline_s:g} s")
        elif self._write_stalled_s is not None and self._unread_bytes() < self._stalled_bytes:
            # Slow, but reading.
            self._write_stalled_s = now_s
            self._stalled_bytes = self._unread_bytes()
        elif self._write_stalled_s is not None and now_s - self._write_stalled_s > limits.write_stall_s:
            self.abort(f"it read nothing for {limits.write_stall_s:g} s")
        elif not self._slots and not self._frames and now_s - self._last_active_s > limits.idle_s:
            self.abort("it was idle", level=logging.DEBUG)

    def fault(self, error: Exception) -> None:
        """Our own error, lack of memory and of stack included: it ends this connection and nothing else."""
        self.abort("an error of ours", logging.ERROR, error)

    def abort(self, reason: str, level: int = logging.WARNING, error: Exception | None = None) -> None:
        """Close at once, unanswered requests included, with one log line."""
        if self._is_closing:
            return
        self._is_closing = True
        self._frames.clear()
        self._server.log_refusal(level, self._peer, reason, error)
        if self._transport is not None:
            self._transport.abort()


def close_all(connections: Iterable[Connection]) -> None:
    """Close connections at the broker's stop."""
    for connection in list(connections):
        connection.abort("the broker stops", level=logging.DEBUG)
