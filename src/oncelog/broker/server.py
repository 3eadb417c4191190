"""The listening socket and its connections: accepts, counts, sweeps deadlines, flushes once per turn.

Must not know requests; what a frame means is the connection's business.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from typing import TYPE_CHECKING

from oncelog.broker.connection import Connection, close_all
from oncelog.broker.limits import ConnectionLimits

if TYPE_CHECKING:
    from oncelog.broker.broker import Broker

log = logging.getLogger("oncelog.server")

SWEEP_INTERVAL_S = 1.0
BACKLOG = 1024


class Server:
    """One listener: `await start()`, then `address`; `close()` ends every connection."""

    def __init__(
        self,
        broker: Broker,
        loop: asyncio.AbstractEventLoop,
        limits: ConnectionLimits,
        host: str,
        port: int,
        advertised: tuple[str, int] | None = None,
    ) -> None:
        self.address = (host, port)
        self.advertised_address = advertised or (host, port)
        self._advertised = advertised
        self._broker = broker
        self._loop = loop
        self._limits = limits
        self._connections: dict[int, Connection] = {}
        self._connection_ids = 0
        self._server: asyncio.Server | None = None
        self._sweep_timer: asyncio.TimerHandle | None = None
        self._to_flush: list[Connection] = []
        self._flush_handle: asyncio.Handle | None = None
        self._refusals = 0

    async def start(self) -> None:
        """Bind and listen. Raises OSError when the address cannot be had."""
        self._server = await self._loop.create_server(
            self._accept, self.address[0], self.address[1], backlog=BACKLOG, start_serving=False
        )
        bound: socket.socket = self._server.sockets[0]
        self.address = (self.address[0], bound.getsockname()[1])
        advertised = self._advertised
        if advertised is None:
            self.advertised_address = self.address
        else:
            self.advertised_address = (advertised[0], advertised[1] or self.address[1])
        self._broker.engine.flush_after_release(self.flush)
        self._sweep_timer = self._loop.call_later(SWEEP_INTERVAL_S, self._sweep)
        await self._server.start_serving()

    def hand_over(self, broker: Broker) -> None:
        """Go on listening for another broker; the connections of the one before are closed."""
        close_all(self._connections.values())
        self._broker = broker
        broker.engine.flush_after_release(self.flush)

    async def close(self) -> None:
        """Stop listening and close every connection."""
        if self._sweep_timer is not None:
            self._sweep_timer.cancel()
        if self._server is not None:
            self._server.close()
        close_all(self._connections.values())
        await asyncio.sleep(0)

    def _accept(self) -> Connection:
        self._connection_ids += 1
        return Connection(self, self._broker, self._limits, self._connection_ids)

    # --- what connections need ---

    @property
    def connection_count(self) -> int:
        return len(self._connections)

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
        if not log.isEnabledFor(level):
            return
        self._refusals += 1
        if self._refusals <= self._limits.refusals_logged_per_s:
            log.log(level, "connection of %s closed: %s", peer, reason, exc_info=error)

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
