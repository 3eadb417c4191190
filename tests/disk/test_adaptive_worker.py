"""A worker that runs quick jobs where they are handed over, and slow ones in its thread."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from oncelog.disk.workers import (
    QUICK_JOBS_TO_RETURN,
    QUICK_S,
    SLOW_JOBS_TO_LEAVE,
    STALL_S,
    AdaptiveWorker,
)


class Clock:
    """Time that moves when a job says so."""

    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


class Jobs:
    """Runs jobs of a given length one after the other and tells in which thread each ran."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.worker = AdaptiveWorker("test", self.clock)

    def run(self, takes_s: float) -> bool:
        """Whether the job ran in this thread."""
        ran_in: list[threading.Thread] = []
        done = threading.Event()

        def job() -> None:
            self.clock.now_s += takes_s
            ran_in.append(threading.current_thread())
            done.set()

        self.worker.submit(job)
        assert done.wait(10)
        if ran_in[0] is not threading.current_thread():
            self.worker.wait()
        return ran_in[0] is threading.current_thread()


@pytest.fixture
def jobs() -> Iterator[Jobs]:
    made = Jobs()
    yield made
    made.worker.close()


def test_quick_jobs_stay(jobs: Jobs) -> None:
    assert all(jobs.run(QUICK_S / 2) for _ in range(50))


def test_slow_jobs_in_a_row_go_to_the_thread(jobs: Jobs) -> None:
    assert [jobs.run(2 * QUICK_S) for _ in range(SLOW_JOBS_TO_LEAVE + 2)] == [True] * SLOW_JOBS_TO_LEAVE + [
        False,
        False,
    ]


def test_slow_jobs_among_quick_ones_stay(jobs: Jobs) -> None:
    assert all(jobs.run(takes_s) for takes_s in [2 * QUICK_S, QUICK_S / 2] * 10)


def test_one_that_stalls_sends_the_next_to_the_thread(jobs: Jobs) -> None:
    assert jobs.run(2 * STALL_S)
    assert not jobs.run(0.0)


def test_many_quick_jobs_in_a_row_come_back(jobs: Jobs) -> None:
    jobs.run(2 * STALL_S)
    where = [jobs.run(0.0) for _ in range(QUICK_JOBS_TO_RETURN + 3)]
    assert where == [False] * (QUICK_JOBS_TO_RETURN + 1) + [True, True]


def test_a_slow_job_in_the_thread_starts_the_count_again(jobs: Jobs) -> None:
    jobs.run(2 * STALL_S)
    for _ in range(QUICK_JOBS_TO_RETURN - 1):
        jobs.run(0.0)
    jobs.run(1.0)
    assert not any(jobs.run(0.0) for _ in range(QUICK_JOBS_TO_RETURN + 1))
    assert jobs.run(0.0)
