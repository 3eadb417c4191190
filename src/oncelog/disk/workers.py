"""Where blocking system calls run: doors to hand a job through. Threads exist only behind them.

A job tells its outcome itself, by what it was given to call. Simulation and tests use `InlineWorker`, where
a job runs when it is handed over, so that a run depends on nothing but its inputs.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Protocol

Job = Callable[[], object]


class Worker(Protocol):
    """Runs jobs in the order they come, one after the other unless it was made with several threads."""

    def submit(self, job: Job) -> None:
        """Hand over a job; it must not raise."""
        ...

    def wait(self) -> None:
        """Return when every job handed over before has run. Not to be called by a job of this worker."""
        ...

    def close(self) -> None:
        """Wait for the jobs handed over, then take no more. Idempotent."""
        ...


class ThreadWorker:
    """Threads of its own. They are daemons: a program that forgets to close a journal still ends."""

    def __init__(self, name: str, threads: int = 1) -> None:
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._is_closed = False
        self._threads = [
            threading.Thread(target=_run_jobs, args=(self._jobs,), name=f"{name}-{number}", daemon=True)
            for number in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, job: Job) -> None:
        assert not self._is_closed, "a job for a worker that has been closed"
        self._jobs.put(job)

    def wait(self) -> None:
        assert len(self._threads) == 1, "with several threads, later jobs overtake earlier ones"
        if not self._is_closed:
            reached = threading.Event()
            self._jobs.put(reached.set)
            reached.wait()

    def close(self) -> None:
        if not self._is_closed:
            self._is_closed = True
            for _ in self._threads:
                self._jobs.put(None)
        for thread in self._threads:
            thread.join()


def _run_jobs(jobs: SimpleQueue[Job | None]) -> None:
    while (job := jobs.get()) is not None:
        job()
        # A job holds on to its buffers; waiting for the next one must not.
        del job


class InlineWorker:
    """Runs each job at once, in the thread that hands it over."""

    def submit(self, job: Job) -> None:
        job()

    def wait(self) -> None:
        """Nothing is ever left to wait for."""

    def close(self) -> None:
        """Nothing to let go of."""
