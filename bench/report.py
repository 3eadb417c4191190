"""What the machine, a pass and a comparison look like as JSON and as tables. Measures nothing."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from typing import Any

import confluent_kafka

from bench.figures import Measured

LABELS = {
    "disk_sync_p50": "disk: 4 KiB write and fdatasync, p50",
    "disk_sync_p99": "disk: 4 KiB write and fdatasync, p99",
    "startup_ready": "start-up to the first answer",
    "startup_first_record": "start-up to the first acknowledged record",
    "memory_idle": "resident memory, idle",
    "memory_after_records": "resident memory after a million records",
    "produce_100b_1p_records": "produce 100 B, 1 partition",
    "produce_100b_1p_mb": "produce 100 B, 1 partition",
    "produce_100b_12p_records": "produce 100 B, 12 partitions",
    "produce_100b_12p_mb": "produce 100 B, 12 partitions",
    "produce_1000b_1p_records": "produce 1 KB, 1 partition",
    "produce_1000b_1p_mb": "produce 1 KB, 1 partition",
    "produce_1000b_12p_records": "produce 1 KB, 12 partitions",
    "produce_1000b_12p_mb": "produce 1 KB, 12 partitions",
    "one_in_flight_p50": "one in flight, p50",
    "one_in_flight_p99": "one in flight, p99",
    "end_to_end_p50": "produced to consumed at 1,000/s, p50",
    "end_to_end_p99": "produced to consumed at 1,000/s, p99",
    "commit_p50": "one commit, p50",
    "commit_p99": "one commit, p99",
    "transactions_1_record": "transactions of 1 record",
    "transactions_100_records_10p": "transactions of 100 records over 10 partitions",
    "transactions_8_producers": "transactions of 1 record, 8 producers",
    "transform": "consume-transform-produce, 100 records each",
    "transform_retry_1ms": "the same, retry.backoff.ms=1",
    "catch_up": "catch-up read, 100 B",
    "catch_up_backoff_10ms": "the same, fetch.queue.backoff.ms=10",
}
"""How figures are called in tables, in the tables' order."""

QUICK_NOTICE = "A SMOKE RUN (--quick): these figures mean nothing, whatever they look like.\n"


def machine() -> dict[str, Any]:
    """What figures depend on besides the broker."""
    version, library = confluent_kafka.version(), confluent_kafka.libversion()[0]
    return {
        "cpus": os.cpu_count(),
        "memory_mb": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 1_000_000,
        "kernel": platform.release(),
        "python": platform.python_version(),
        "client": f"confluent-kafka {version} (librdkafka {library})",
    }


def as_json(results: Sequence[Measured]) -> list[dict[str, Any]]:
    """A pass, ready for json.dump."""
    return [
        {**result._asdict(), "figures": [figure._asdict() for figure in result.figures]} for result in results
    ]


def number(value: float) -> str:
    """Three figures are all that a benchmark knows."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def pass_table(results: Sequence[Measured]) -> str:
    """One row for each figure; costs are the whole measure's, and stand in its first row."""
    rows = [("figure", "value", "unit", "client CPU s", "server CPU s")]
    for result in results:
        costs = (
            f"{result.client_cpu_s:.1f}",
            "" if result.server_cpu_s is None else f"{result.server_cpu_s:.1f}",
        )
        if result.error is not None:
            rows.append((result.measure, "failed", "", *costs))
        for figure in result.figures:
            label = LABELS.get(figure.name, figure.name)
            rows.append((label, number(figure.value), figure.unit, *costs))
            costs = ("", "")
    return table(rows, left_columns=(0, 2))


def table(rows: Sequence[Sequence[str]], left_columns: Sequence[int] = (0,)) -> str:
    """Rows as aligned text; the first is the heading."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]

    def line(row: Sequence[str]) -> str:
        cells = [
            cell.ljust(width) if column in left_columns else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths))
        ]
        return "  ".join(cells).rstrip()

    return "\n".join([line(rows[0]), "  ".join("-" * width for width in widths), *map(line, rows[1:])])
