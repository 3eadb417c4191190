"""Timers by the thousand on one timer of the event loop: a heap of deadlines, one wake-up for the earliest.

Knows the loop's clock only; what a deadline means is its owner's business.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
from collections.abc import Callable

log = logging.getLogger("oncelog.deadlines")


class Deadline:
    """A callback that runs once at its time unless it is cancelled before."""

    __slots__ = ("callback", "order", "when")

    def __init__(self, when: float, order: int, callback: Callable[[], None]) -> None:
        self.when = when
        self.order = order
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        """Never run it; calling it again, or after it ran, does nothing."""
        self.callback = None

    def __lt__(self, other: Deadline) -> bool:
        return (self.when, self.order) < (other.when, other.order)


class Deadlines:
    """All deadlines of one broker, in the order of their time, equal times in the order they were set."""

    def __init__(self, loop: asyncio.AbstractEventLoop, on_failure: Callable[[BaseException], None]) -> None:
        """on_failure: told of what a callback raised; the others still run."""
        self._loop = loop
        self._on_failure = on_failure
        self._heap: list[Deadline] = []
        self._orders = 0
        self._handle: asyncio.TimerHandle | None = None
        self._armed_for = 0.0

    def after(self, delay_ms: float, callback: Callable[[], None]) -> Deadline:
        """Run `callback` once when `delay_ms` have passed."""
        self._orders += 1
        deadline = Deadline(self._loop.time() + delay_ms / 1000, self._orders, callback)
        heapq.heappush(self._heap, deadline)
        if self._handle is None or deadline.when < self._armed_for:
            self._arm()
        elif len(self._heap) > 64 and self._orders % 1024 == 0:
            self._drop_cancelled()
        return deadline

    def close(self) -> None:
        """Forget every deadline."""
        self._heap.clear()
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _arm(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
        self._armed_for = self._heap[0].when
        self._handle = self._loop.call_at(self._armed_for, self._run)

    def _run(self) -> None:
        self._handle = None
        now = self._loop.time()
        heap = self._heap
        # What these set for now waits for the next turn, so that work in steps gives others a turn.
        newest = self._orders
        while heap and (heap[0].callback is None or (heap[0].when <= now and heap[0].order <= newest)):
            deadline = heapq.heappop(heap)
            callback, deadline.callback = deadline.callback, None
            if callback is not None:
                try:
                    callback()
                except Exception as broken:
                    # What it was to do is left undone, and nobody else will: better to stop than to go on.
                    log.exception("what was due at a deadline failed")
                    self._on_failure(broken)
        if heap and self._handle is None:
            self._arm()

    def _drop_cancelled(self) -> None:
        """Heartbeats cancel and set a deadline each; without this the cancelled ones would pile up."""
        self._heap = [deadline for deadline in self._heap if deadline.callback is not None]
        heapq.heapify(self._heap)
