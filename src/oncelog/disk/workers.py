"""Where blocking system calls run: doors to hand a job through. Threads exist only behind them.

A hop to a thread and back costs more than a quick sync itself, above all to a busy interpreter; so a writer
may run its jobs where they are handed over for as long as they are quick (AdaptiveWorker).

A job tells its outcome itself, by what it was given to call. Simulation and tests use `InlineWorker`, where
a job runs when it is handed over, so that a run depends on nothing but its inputs.
"""

from __future__ import annotations

import threading
import time
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


QUICK_S = 0.0005
"""What a job may take where it is handed over."""
STALL_S = 0.005
QUICK_IN_THREAD_S = 0.001
"""In a thread, a job waits for the interpreter twice, so the same job takes longer there."""
SLOW_JOBS_TO_LEAVE = 2
QUICK_JOBS_TO_RETURN = 16


class AdaptiveWorker:
    """Runs jobs at once, where they are handed over, while they are quick; else in a thread of its own.

    Jobs must come one at a time, each after the outcome of the one before. Two slow jobs in a row, or one
    that stalls, send those after it to the thread; many quick ones in a row bring them back. So a disk that
    stalls holds up the caller once, and a bulk of large writes goes on beside it.
    """

    def __init__(self, name: str, now_s: Callable[[], float] = time.perf_counter) -> None:
        self.is_inline = True
        self._thread = ThreadWorker(name)
        self._now_s = now_s
        self._streak = 0

    def submit(self, job: Job) -> None:
        if not self.is_inline:
            self._thread.submit(lambda: self._run_in_thread(job))
            return
        began_s = self._now_s()
        job()
        took_s = self._now_s() - began_s
        self._streak = self._streak + 1 if took_s > QUICK_S else 0
        if self._streak >= SLOW_JOBS_TO_LEAVE or took_s > STALL_S:
            self.is_inline = False
            self._streak = 0

    def _run_in_thread(self, job: Job) -> None:
        # Counted before the job tells its outcome, for the next one may be handed over right then.
        began_s = self._now_s()
        if self._streak >= QUICK_JOBS_TO_RETURN:
            self.is_inline = True
            self._streak = 0
        job()
        if not self.is_inline:
            took_s = self._now_s() - began_s
            self._streak = self._streak + 1 if took_s <= QUICK_IN_THREAD_S else 0

    def wait(self) -> None:
        self._thread.wait()

    def close(self) -> None:
        self._thread.close()


class InlineWorker:
    """Runs each job at once, in the thread that hands it over."""

    def submit(self, job: Job) -> None:
        job()

    def wait(self) -> None:
        """Nothing is ever left to wait for."""

    def close(self) -> None:
        """Nothing to let go of."""
