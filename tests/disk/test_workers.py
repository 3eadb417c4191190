"""Workers run jobs in order, and closing one waits for what was handed over."""

from __future__ import annotations

import threading

from oncelog.disk.workers import InlineWorker, ThreadWorker


def test_jobs_run_in_order_in_one_other_thread() -> None:
    worker = ThreadWorker("test")
    seen: list[tuple[int, str]] = []
    for number in range(100):
        worker.submit(lambda number=number: seen.append((number, threading.current_thread().name)))  # type: ignore[misc]
    worker.wait()
    assert seen == [(number, "test-0") for number in range(100)]
    worker.close()


def test_closing_waits_for_the_jobs_handed_over() -> None:
    worker = ThreadWorker("test")
    may_go = threading.Event()
    done: list[int] = []
    worker.submit(may_go.wait)
    worker.submit(lambda: done.append(1))
    may_go.set()
    worker.close()
    worker.close()
    worker.wait()
    assert done == [1]


def test_several_threads_work_side_by_side() -> None:
    worker = ThreadWorker("test", threads=2)
    both_are_here = threading.Barrier(2, timeout=30)
    for _ in range(2):
        worker.submit(both_are_here.wait)
    worker.close()
    assert not both_are_here.broken


def test_an_inline_worker_runs_at_once() -> None:
    seen: list[int] = []
    InlineWorker().submit(lambda: seen.append(1))
    assert seen == [1]
