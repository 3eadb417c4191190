"""The event loop that Windows has, on this system: asyncio's own proactor loop and transports, above a
proactor that keeps its promises with a selector.

What is written to a socket is done when all of it was taken, as an overlapped send is; that the loop knows no
signal handlers comes with it.
"""

from __future__ import annotations

import asyncio
import selectors
import socket
from asyncio import proactor_events
from collections.abc import Callable
from typing import Any

READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE


class Operation:
    """One thing to be done with a socket, again and again until it does not block."""

    def __init__(self, future: asyncio.Future[Any], step: Callable[[], Any]) -> None:
        self.future = future
        self._step = step

    def is_done(self) -> bool:
        """Go on with it. What was cancelled is left alone."""
        if self.future.done():
            return True
        try:
            result = self._step()
        except (BlockingIOError, InterruptedError):
            return False
        except OSError as failed:
            self.future.set_exception(failed)
        else:
            self.future.set_result(result)
        return True


class Proactor:
    """Operations by socket and direction, one of each at a time."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._under_way: dict[int, dict[int, Operation]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None

    def set_loop(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[object]:
        for key, mask in self._selector.select(timeout):
            for event, operation in list(self._under_way.get(key.fd, {}).items()):
                if mask & event and operation.is_done():
                    self._end(key.fd, event, operation)
        return []

    def close(self) -> None:
        self._selector.close()

    def _start(self, sock: socket.socket, event: int, step: Callable[[], Any]) -> asyncio.Future[Any]:
        assert self._loop is not None
        operation = Operation(self._loop.create_future(), step)
        if not operation.is_done():
            descriptor = sock.fileno()
            assert event not in self._under_way.get(descriptor, {}), "two of a kind at a time"
            self._under_way.setdefault(descriptor, {})[event] = operation
            self._watch(descriptor)
            operation.future.add_done_callback(lambda _: self._end(descriptor, event, operation))
        return operation.future

    def _end(self, descriptor: int, event: int, operation: Operation) -> None:
        if self._under_way.get(descriptor, {}).get(event) is operation:
            del self._under_way[descriptor][event]
            self._watch(descriptor)

    def _watch(self, descriptor: int) -> None:
        mask = sum(self._under_way[descriptor])
        is_watched = descriptor in self._selector.get_map()
        if mask and is_watched:
            self._selector.modify(descriptor, mask)
        elif mask:
            self._selector.register(descriptor, mask)
        elif is_watched:
            self._selector.unregister(descriptor)

    # --- what loops and transports ask for ---

    def recv(self, sock: socket.socket, size_bytes: int, flags: int = 0) -> asyncio.Future[Any]:
        return self._start(sock, READ, lambda: sock.recv(size_bytes, flags))

    def recv_into(self, sock: socket.socket, buffer: bytearray, flags: int = 0) -> asyncio.Future[Any]:
        return self._start(sock, READ, lambda: sock.recv_into(buffer, 0, flags))

    def send(self, sock: socket.socket, data: bytes, flags: int = 0) -> asyncio.Future[Any]:
        left = memoryview(data)

        def step() -> int:
            nonlocal left
            while left:
                left = left[sock.send(left, flags) :]
            return len(data)

        return self._start(sock, WRITE, step)

    def accept(self, listener: socket.socket) -> asyncio.Future[Any]:
        return self._start(listener, READ, lambda: _accepted(listener))

    def _stop_serving(self, sock: socket.socket) -> None:
        """The loop has cancelled what was waited for, and closes the socket."""
        self._under_way.setdefault(sock.fileno(), {}).clear()
        self._watch(sock.fileno())


def _accepted(listener: socket.socket) -> tuple[socket.socket, Any]:
    connection, address = listener.accept()
    connection.setblocking(False)
    return connection, address


class ProactorLoop(proactor_events.BaseProactorEventLoop):
    """As asyncio.ProactorEventLoop, which only Windows has."""

    def __init__(self) -> None:
        super().__init__(Proactor())

    def run_forever(self) -> None:
        """With an ear for other threads and signals, as the loop of Windows has it."""
        self.call_soon(self._loop_self_reading)
        try:
            super().run_forever()
        finally:
            if self._self_reading_future is not None:
                self._self_reading_future.cancel()
                self._self_reading_future = None
