"""The listening sockets and their connections: accepts, counts, sweeps deadlines, flushes once per turn.

Must not know requests; what a frame means is the connection's business.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from oncelog.broker.connection import Connection, close_all
from oncelog.broker.limits import ConnectionLimits
from oncelog.broker.options import Address, Listener

if TYPE_CHECKING:
    from oncelog.broker.broker import Broker

log = logging.getLogger("oncelog.server")

SWEEP_INTERVAL_S = 1.0
BACKLOG = 1024


class CannotListen(Exception):
    """An address cannot be had; the cause is the system's error."""

    def __init__(self, address: Address) -> None:
        super().__init__(str(address))
        self.address = address


class Server:
    """All listeners of one broker: `await start()`, then `addresses`; `close()` ends every connection.

    Limits are for the connections of all of them together. What a connection's clients are told to connect
    to is its own listener's.
    """

    def __init__(
        self,
        broker: Broker,
        loop: asyncio.AbstractEventLoop,
        limits: ConnectionLimits,
        listeners: Sequence[Listener],
    ) -> None:
        self.addresses: list[Address] = []
        self.advertised_addresses: list[Address] = []
        self._listeners = listeners
        self._broker = broker
        self._loop = loop
        self._limits = limits
        self._connections: dict[int, Connection] = {}
        self._connection_ids = 0
        self._servers: list[asyncio.Server] = []
        self._sweep_timer: asyncio.TimerHandle | None = None
        self._to_flush: list[Connection] = []
        self._flush_handle: asyncio.Handle | None = None
        self._refusals = 0
        self.closed_for_cause = 0
        self.held_bytes = 0

    async def start(self) -> None:
        """Bind all, then listen. Raises CannotListen, with nothing bound, when an address cannot be had."""
        for index, listener in enumerate(self._listeners):
            address = listener.address
            try:
                server = await self._loop.create_server(
                    partial(self._accept, index),
                    address.host,
                    address.port,
                    backlog=BACKLOG,
                    start_serving=False,
                )
            except OSError as refused:
                self._stop_listening()
                raise CannotListen(address) from refused
            self._servers.append(server)
            bound: socket.socket = server.sockets[0]
            address = Address(address.host, bound.getsockname()[1])
            told = listener.advertised or address
            self.addresses.append(address)
            self.advertised_addresses.append(Address(told.host, told.port or address.port))
        self._broker.engine.flush_after_release(self.flush)
        self._sweep_timer = self._loop.call_later(SWEEP_INTERVAL_S, self._sweep)
        for server in self._servers:
            await server.start_serving()

    def _stop_listening(self) -> None:
        for server in self._servers:
            server.close()

    def hand_over(self, broker: Broker) -> None:
        """Go on listening for another broker; the connections of the one before are closed."""
        close_all(self._connections.values())
        self._broker = broker
        broker.engine.flush_after_release(self.flush)

    def cut_all(self) -> None:
        """Close every connection, and go on listening."""
        close_all(self._connections.values())

    async def close(self) -> None:
        """Stop listening and close every connection."""
        if self._sweep_timer is not None:
            self._sweep_timer.cancel()
        self._stop_listening()
        close_all(self._connections.values())
        await asyncio.sleep(0)

    def _accept(self, listener: int) -> Connection:
        self._connection_ids += 1
        advertised = self.advertised_addresses[listener]
        return Connection(self, self._broker, self._limits, self._connection_ids, advertised)

    # --- what connections need ---

    @property
    def connection_count(self) -> int:
        return len(self._connections)

    @property
    def accepted_count(self) -> int:
        return self._connection_ids

    def now_s(self) -> float:
        return self._loop.time()

    def register(self, connection: Connection) -> bool:
        """Count a connection; False when there are too many."""
        if len(self._connections) >= self._limits.connections_max:
            return False
        self._connections[connection.id] = connection
        return True

    def forget(self, connection: Connection) -> None:
        self._connections.pop(connection.id, None)

    def flush_later(self, connection: Connection) -> None:
        """Flush `connection` at the end of this turn, or with the releases of a durable entry."""
        self._to_flush.append(connection)
        if self._flush_handle is None:
            self._flush_handle = self._loop.call_soon(self.flush)

    def flush(self) -> None:
        """Write what is due on every connection that has something due."""
        if self._flush_handle is not None:
            self._flush_handle.cancel()
            self._flush_handle = None
        due, self._to_flush = self._to_flush, []
        for connection in due:
            try:
                connection.flush()
            except Exception as error:
                connection.fault(error)

    def log_refusal(self, level: int, peer: str, reason: str, error: Exception | None = None) -> None:
        """One line per closed connection, at most a few in a second; the rest are counted.

        error: our own, where there is one; its traceback follows the line.
        """
        if level >= logging.WARNING:
            self.closed_for_cause += 1
        if not log.isEnabledFor(level):
            return
        self._refusals += 1
        if self._refusals <= self._limits.refusals_logged_per_s:
            fields = {"peer": peer, "reason": reason}
            log.log(
                level, "connection of %s closed: %s", peer, reason, exc_info=error, extra={"fields": fields}
            )

    def _count_refusals_anew(self) -> None:
        """A new second has begun: tell how many closed connections of the last one got no line."""
        untold = self._refusals - self._limits.refusals_logged_per_s
        if untold > 0:
            log.warning("connections closed without a line of their own: %d", untold)
        self._refusals = 0

    def _sweep(self) -> None:
        self._sweep_timer = self._loop.call_later(SWEEP_INTERVAL_S, self._sweep)
        self._count_refusals_anew()
        now_s = self.now_s()
        held_bytes = 0
        for connection in list(self._connections.values()):
            try:
                connection.sweep(now_s)
                held_bytes += connection.held_bytes
            except Exception as error:
                connection.fault(error)
        self.held_bytes = held_bytes
        if held_bytes > self._limits.held_bytes_max:
            self._make_room(held_bytes)

    def _make_room(self, held_bytes: int) -> None:
        """Each connection keeps its own limits, and all of them are still too much: close the largest."""
        largest = sorted(self._connections.values(), key=lambda each: each.held_bytes, reverse=True)
        for connection in largest:
            if held_bytes <= self._limits.held_bytes_max:
                break
            held_bytes -= connection.held_bytes
            connection.abort(
                f"all connections together hold too many bytes, this one {connection.held_bytes}"
            )
