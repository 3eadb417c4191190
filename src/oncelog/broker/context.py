"""What a handler is given beside its request: who asks, in which version, and the broker's parts.

Handlers look at `broker.state`, execute commands and return a response; they know no sockets.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from oncelog.broker.broker import Broker


class ConnectionIdentity(Protocol):
    """What handlers may know of the connection that a request came by.

    on_close: set by a handler that waits; called once if the connection ends before it responded.
    """

    id: int
    listener_address: tuple[str, int]
    on_close: Callable[[], None] | None

    def fault(self, error: Exception) -> None:
        """End this connection, and nothing else, for an error of ours."""
        ...


class Context:
    """One request's surroundings."""

    __slots__ = ("broker", "client_id", "connection", "host", "prepared", "version")

    def __init__(
        self,
        broker: Broker,
        connection: ConnectionIdentity,
        version: int,
        client_id: str | None,
        host: str,
    ) -> None:
        self.broker = broker
        self.connection = connection
        self.version = version
        self.client_id = client_id
        self.host = host
        self.prepared: dict[int, Any] | None = None
        """What a handler found out in steps before it could decide; its own affair (see `Unprepared`)."""
