"""Deadlines: one loop timer for all of them, in order, cancelled ones never run."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from oncelog.broker.deadlines import Deadlines


class FakeLoop:
    """The part of a loop that Deadlines uses, with a clock that the test moves."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.timers: list[tuple[float, Callable[[], None], FakeHandle]] = []

    def time(self) -> float:
        return self.now_s

    def call_at(self, when: float, callback: Callable[[], None]) -> FakeHandle:
        handle = FakeHandle()
        self.timers.append((when, callback, handle))
        return handle

    def advance(self, seconds: float) -> None:
        self.now_s += seconds
        while True:
            due = [timer for timer in self.timers if not timer[2].cancelled and timer[0] <= self.now_s]
            if not due:
                return
            due[0][2].cancelled = True
            due[0][1]()

    @property
    def armed(self) -> int:
        return sum(not handle.cancelled for _, _, handle in self.timers)


class FakeHandle:
    def __init__(self) -> None:
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


def make() -> tuple[FakeLoop, Deadlines]:
    loop = FakeLoop()
    return loop, Deadlines(loop, pytest.fail)  # type: ignore[arg-type]


def test_they_run_in_the_order_of_their_time_and_then_of_their_setting() -> None:
    loop, deadlines = make()
    ran: list[str] = []
    deadlines.after(200, lambda: ran.append("later"))
    deadlines.after(100, lambda: ran.append("first"))
    deadlines.after(100, lambda: ran.append("second"))
    loop.advance(0.05)
    assert ran == []
    loop.advance(0.06)
    assert ran == ["first", "second"]
    loop.advance(0.1)
    assert ran == ["first", "second", "later"]


def test_a_cancelled_one_never_runs() -> None:
    loop, deadlines = make()
    ran: list[str] = []
    cancelled = deadlines.after(10, lambda: ran.append("cancelled"))
    deadlines.after(10, lambda: ran.append("kept"))
    cancelled.cancel()
    loop.advance(1)
    assert ran == ["kept"]


def test_one_timer_serves_them_all() -> None:
    loop, deadlines = make()
    for delay_ms in range(1000, 0, -1):
        deadlines.after(delay_ms, lambda: None)
    assert loop.armed == 1


def test_a_callback_may_set_the_next() -> None:
    loop, deadlines = make()
    ran: list[int] = []

    def again() -> None:
        ran.append(len(ran))
        if len(ran) < 3:
            deadlines.after(10, again)

    deadlines.after(10, again)
    for _ in range(5):
        loop.advance(0.011)
    assert ran == [0, 1, 2]


def test_cancelled_ones_do_not_pile_up() -> None:
    _loop, deadlines = make()
    for _ in range(100_000):
        deadlines.after(60_000, lambda: None).cancel()
    assert len(deadlines._heap) < 3000


def test_one_that_fails_is_told_of_and_the_others_run() -> None:
    loop = FakeLoop()
    failures: list[BaseException] = []
    deadlines = Deadlines(loop, failures.append)  # type: ignore[arg-type]
    ran: list[str] = []
    error = AssertionError("an invariant broke")

    def fail() -> None:
        raise error

    deadlines.after(10, fail)
    deadlines.after(20, lambda: ran.append("next"))
    loop.advance(0.03)
    assert failures == [error]
    assert ran == ["next"]


def test_on_a_real_loop() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        Deadlines(loop, pytest.fail).after(1, lambda: done.set_result(None))
        await done

    asyncio.run(asyncio.wait_for(main(), 10))


def test_what_is_set_for_now_waits_for_the_next_turn() -> None:
    """Else work in steps would be done in one."""
    loop, deadlines = make()
    ran: list[str] = []

    def step() -> None:
        ran.append("step")
        deadlines.after(0, step)

    deadlines.after(0, step)
    deadlines.after(0, lambda: ran.append("other"))
    (_, run, _), *_ = loop.timers
    run()
    assert ran == ["step", "other"]
    assert loop.armed
