"""Work in steps for which the loop must not stop: one step in each of its turns, whoever has such work.

However many clients ask for what takes long, the others wait for one step at most. A work is an iterator
that pauses (yields) about every ten milliseconds. Must not know what the work is.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Protocol


class Timers(Protocol):
    """What is needed of the deadlines."""

    def after(self, delay_ms: float, callback: Callable[[], None]) -> object: ...


class Work:
    """Steps that are being taken. In the end either done or failed is called, unless it is cancelled."""

    __slots__ = ("done", "failed", "is_cancelled", "steps")

    def __init__(
        self, steps: Iterator[None], done: Callable[[], None], failed: Callable[[Exception], None]
    ) -> None:
        self.steps = steps
        self.done = done
        self.failed = failed
        self.is_cancelled = False

    def cancel(self) -> None:
        """Take no further step."""
        self.is_cancelled = True


class Turns:
    """All such work of one broker, step by step in turn. The first step of each is taken at once."""

    def __init__(self, timers: Timers) -> None:
        self._timers = timers
        self._waiting: deque[Work] = deque()
        self._is_due = False

    def take(
        self, steps: Iterator[None], done: Callable[[], None], failed: Callable[[Exception], None]
    ) -> Work:
        """Take all steps, then call `done`, which may be before this returns."""
        work = Work(steps, done, failed)
        self._step(work)
        return work

    def _step(self, work: Work) -> None:
        try:
            for _ in work.steps:
                self._waiting.append(work)
                self._continue_later()
                return
        except Exception as error:
            work.failed(error)
            return
        work.done()

    def _continue_later(self) -> None:
        if not self._is_due and self._waiting:
            self._is_due = True
            self._timers.after(0, self._turn)

    def _turn(self) -> None:
        self._is_due = False
        try:
            while self._waiting:
                work = self._waiting.popleft()
                if not work.is_cancelled:
                    self._step(work)
                    break
        finally:
            self._continue_later()
