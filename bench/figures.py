"""What a measure returns, what a pass over all measures returns, and the machine's own numbers.

Knows no broker and no client.
"""

from __future__ import annotations

import os
import resource
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

SYNC_FILE_BYTES = 16 * 1024 * 1024
PAGE_BYTES = 4096


class Figure(NamedTuple):
    """One number. `name` is unique over all measures; `unit` says how it reads."""

    name: str
    value: float
    unit: str


class Measured(NamedTuple):
    """One measure's figures, and what it cost: seconds on the clock and of both sides' processors, all of it
    (filling topics included)."""

    measure: str
    figures: list[Figure]
    seconds: float
    client_cpu_s: float
    server_cpu_s: float | None
    error: str | None = None


def percentile(samples: Sequence[float], percent: float) -> float:
    """The nearest-rank percentile."""
    ordered = sorted(samples)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def own_cpu_s() -> float:
    """Processor seconds of this process, all threads."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def cpu_s_of(process_id: int | None) -> float | None:
    """Processor seconds of another process on this machine, all threads; None where there is none."""
    if process_id is None:
        return None
    fields = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_mb_of(process_id: int) -> float:
    """Resident memory of a process on this machine, in millions of bytes."""
    for line in Path(f"/proc/{process_id}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise ValueError(f"process {process_id} says nothing of its memory")


def disk_sync_us(directory: str | None = None, samples: int = 500) -> list[Figure]:
    """p50 and p99 of writing 4 KiB and fdatasync, into a file that is written already."""
    took_us = []
    with tempfile.NamedTemporaryFile(dir=directory, prefix="oncelog-bench-disk-") as file:
        descriptor = file.fileno()
        file.write(bytes(SYNC_FILE_BYTES))
        file.flush()
        os.fsync(descriptor)
        page = os.urandom(PAGE_BYTES)
        for index in range(samples):
            began = time.perf_counter()
            os.pwrite(descriptor, page, index * PAGE_BYTES % SYNC_FILE_BYTES)
            os.fdatasync(descriptor)
            took_us.append((time.perf_counter() - began) * 1e6)
    return [
        Figure("disk_sync_p50", statistics.median(took_us), "µs"),
        Figure("disk_sync_p99", percentile(took_us, 99), "µs"),
    ]
