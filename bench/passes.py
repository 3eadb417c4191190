"""One pass over the measures, with what it costs both sides. Prints progress; knows nothing of tables."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path

from confluent_kafka import KafkaException

from bench.clients import BenchError, create_topic, fill
from bench.figures import Figure, Measured, cpu_s_of, disk_sync_us, own_cpu_s, resident_mb_of
from bench.measures import MEASURES, Sizes, first_acknowledged
from bench.servers import Server

STARTUP = "startup"
MEMORY = "memory"
DISK = "disk"
ALL = (DISK, STARTUP, MEMORY, *MEASURES)
NEEDS_ITS_RECORDS_BACK = frozenset({"end-to-end"})
"""Not to be asked of a broker that stores nothing."""

MEMORY_PARTITIONS = 12


def say(text: str) -> None:
    """Progress goes to stderr, so that stdout holds the result only."""
    print(text, file=sys.stderr, flush=True)


def run_disk(data_parent: Path | None) -> Measured:
    """The disk's own sync time, for the directory that servers started here use."""
    return _measured(DISK, None, lambda: disk_sync_us(None if data_parent is None else str(data_parent)))


def run_startup(server: Server) -> Measured:
    """Start the server: seconds until it answers, and until a record in a new topic is acknowledged."""
    server.prepare()

    def start() -> list[Figure]:
        began = time.perf_counter()
        server.start()
        ready_s = time.perf_counter() - began
        first_acknowledged(server.bootstrap)
        return [
            Figure("startup_ready", ready_s, "s"),
            Figure("startup_first_record", time.perf_counter() - began, "s"),
        ]

    return _measured(STARTUP, None, start)


def run_memory(bootstrap: str, process_id: int, sizes: Sizes) -> Measured:
    """Resident memory as it is now (idle, if nothing was done yet), and after a million records of 100 B."""

    def measure() -> list[Figure]:
        idle_mb = resident_mb_of(process_id)
        topic = create_topic(bootstrap, "memory", MEMORY_PARTITIONS)
        fill(bootstrap, topic, sizes.memory_records, bytes(100), MEMORY_PARTITIONS)
        return [
            Figure("memory_idle", idle_mb, "MB"),
            Figure("memory_after_records", resident_mb_of(process_id), "MB"),
        ]

    return _measured(MEMORY, process_id, measure)


def run_measures(
    bootstrap: str, process_id: int | None, names: Collection[str], sizes: Sizes
) -> list[Measured]:
    """The named measures, in the order of bench/measures.py."""
    return [
        _measured(name, process_id, partial(measure, bootstrap, sizes))
        for name, measure in MEASURES.items()
        if name in names
    ]


def _measured(name: str, process_id: int | None, measure: Callable[[], list[Figure]]) -> Measured:
    """A measure that fails has no figures; the others go on."""
    began, own_before, server_before = time.perf_counter(), own_cpu_s(), cpu_s_of(process_id)
    error = None
    try:
        figures = measure()
    except (BenchError, KafkaException, TimeoutError) as failed:
        figures, error = [], f"{type(failed).__name__}: {failed}"
    server_after = cpu_s_of(process_id)
    server_cpu_s = None if server_after is None or server_before is None else server_after - server_before
    result = Measured(
        name, figures, time.perf_counter() - began, own_cpu_s() - own_before, server_cpu_s, error
    )
    said = error or ", ".join(f"{figure.name} {figure.value:,.4g} {figure.unit}" for figure in figures)
    say(f"  {name} ({result.seconds:.1f} s): {said}")
    return result
