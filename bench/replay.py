"""How long a start on a full journal takes: the engine writes a journal, then `oncelog serve` is timed.

    python -m bench.replay                        # 1 GB of small batches; 100,000 one-record transactions
    python -m bench.replay --runs 5 --format json

Each start is timed from the process's creation to the ready line, with the journal in the page cache and
after it was dropped from there (where that is permitted). Speaks to the engine, not over sockets: what is
timed is replay, not writing.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from bench.passes import say
from bench.report import machine, table
from oncelog.broker.clock import SystemClock
from oncelog.broker.engine import Engine
from oncelog.broker.published import Published
from oncelog.disk.real import RealDisk
from oncelog.journal.file import FileJournal
from oncelog.machine.commands import (
    AddPartitionsToTxn,
    CreateTopic,
    EndTxn,
    InitProducerId,
    Produce,
    ProduceBatch,
)
from oncelog.machine.state import State
from oncelog.wire.records import build_batch, parse_batch_header

TOPIC_ID = bytes(range(16))
PARTITIONS = 12
PRODUCERS = 16
BATCH_RECORDS = 100
VALUE = bytes(100)
IN_FLIGHT = 5
SEQUENCE_MASK = 2**31 - 1


class Writer:
    """One engine on one data directory; every `turn` is one journal entry."""

    def __init__(self, directory: Path) -> None:
        self._loop = asyncio.get_running_loop()
        self.journal = FileJournal.open(
            RealDisk(),
            str(directory),
            post=self._loop.call_soon_threadsafe,
            file_bytes_max=256 << 20,
            random_bytes=os.urandom,
        )
        for _ in self.journal.replay():
            raise AssertionError("the directory is not new")
        self._failed: list[BaseException] = []
        self.engine = Engine(
            State(),
            self.journal,
            SystemClock(),
            Published(),
            self._loop,
            age_ms=0,
            entry_bytes_max=1 << 20,
            on_failure=self._failed.append,
        )
        self.execute(CreateTopic(TOPIC_ID, "replay", PARTITIONS))

    def execute(self, command: Any) -> Any:
        reply = self.engine.execute(command)
        assert not reply.error, reply
        return reply

    def produce(self, name: str | None, partition: int, batch: bytes, version: int = 11) -> None:
        header = parse_batch_header(batch)
        command = Produce(name, (ProduceBatch(TOPIC_ID, partition, header, header.size),), version, None, "/")
        (result,) = self.engine.produce(command, [batch])
        assert result.appended, result

    async def durable(self) -> None:
        """Return when everything decided so far is on the disk."""
        done = self._loop.create_future()

        class Waiting:
            def release(self) -> None:
                done.set_result(None)

        self.engine.hold(Waiting(), self.engine.stamp())
        await done

    async def close(self) -> None:
        await self.engine.close()
        self.journal.close()
        assert not self._failed, self._failed


async def write_batches(writer: Writer, total_bytes: int) -> int:
    """Batches of 100 records by idempotent producers, five in flight; returns how many."""
    producers = [writer.execute(InitProducerId(None, 60_000, -1, -1, "bench", "/")) for _ in range(PRODUCERS)]
    records = [(0, None, VALUE)] * BATCH_RECORDS
    size = len(build_batch(records))
    count = total_bytes // size
    for number in range(count):
        producer = producers[number % PRODUCERS]
        sequence = number // PRODUCERS * BATCH_RECORDS & SEQUENCE_MASK
        batch = build_batch(
            records, producer_id=producer.producer_id, producer_epoch=0, base_sequence=sequence
        )
        writer.produce(None, number % PRODUCERS % PARTITIONS, batch)
        if number % IN_FLIGHT == IN_FLIGHT - 1:
            await writer.durable()
    await writer.durable()
    return count


async def write_transactions(writer: Writer, count: int) -> int:
    """Transactions of one record, first generation: three requests, three entries each."""
    names = [f"replay-{number}" for number in range(PRODUCERS)]
    producers = [writer.execute(InitProducerId(name, 60_000, -1, -1, "bench", "/")) for name in names]
    for number in range(count):
        which = number % PRODUCERS
        name, producer_id = names[which], producers[which].producer_id
        partition = which % PARTITIONS
        batch = build_batch(
            [(0, None, VALUE)],
            producer_id=producer_id,
            producer_epoch=0,
            base_sequence=number // PRODUCERS,
            is_transactional=True,
        )
        writer.execute(
            AddPartitionsToTxn(name, producer_id, 0, ((TOPIC_ID, partition),), False, "bench", "/")
        )
        await writer.durable()
        writer.produce(name, partition, batch)
        await writer.durable()
        writer.execute(EndTxn(name, producer_id, 0, True, False, "bench", "/"))
        await writer.durable()
    return count


def time_start(directory: Path) -> tuple[float, int]:
    """Seconds from the process's creation to its ready line, and its resident memory then."""
    command = [str(Path(sys.executable).with_name("oncelog")), "serve", "--data", str(directory)]
    began = time.perf_counter()
    with subprocess.Popen(
        [*command, "--listen", "127.0.0.1:0", "--log-level", "warning"], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        seconds = time.perf_counter() - began
        assert line.startswith(b"oncelog ready"), line
        status = Path(f"/proc/{process.pid}/status").read_text()
        process.terminate()
    resident_kb = next(int(row.split()[1]) for row in status.splitlines() if row.startswith("VmRSS"))
    return seconds, resident_kb * 1024


def drop_page_cache() -> bool:
    """Whether the next start reads from the disk."""
    os.sync()
    try:
        Path("/proc/sys/vm/drop_caches").write_text("3")
    except OSError:
        return False
    return True


async def write(directory: Path, how: Callable[[Writer], Awaitable[int]]) -> int:
    writer = Writer(directory)
    count = await how(writer)
    await writer.close()
    return count


def measure(
    name: str, how: Callable[[Writer], Awaitable[int]], options: argparse.Namespace
) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="oncelog-replay-", dir=options.data_parent) as parent:
        directory = Path(parent) / "data"
        began = time.perf_counter()
        count = asyncio.run(write(directory, how))
        journal_bytes = sum(path.stat().st_size for path in (directory / "journal").iterdir())
        say(f"{name}: {count} written in {time.perf_counter() - began:.1f} s")
        cold, warm, resident = [], [], 0
        for _ in range(options.runs):
            if drop_page_cache():
                cold.append(time_start(directory)[0])
            seconds, resident = time_start(directory)
            warm.append(seconds)
    return {
        "what": name,
        "count": count,
        "journal_mb": round(journal_bytes / 1e6),
        "ready_s": round(statistics.median(warm), 3),
        "ready_cold_s": round(statistics.median(cold), 3) if cold else None,
        "resident_mb": round(resident / 1e6),
    }


def main() -> int:
    options = parse()
    results = [
        measure("batches", lambda writer: write_batches(writer, options.batch_bytes), options),
        measure("transactions", lambda writer: write_transactions(writer, options.transactions), options),
    ]
    if options.format == "json":
        print(json.dumps({"machine": machine(), "replay": results}, indent=2))
        return 0
    header = ("journal of", "count", "MB", "ready s", "page cache dropped", "resident MB")
    print(table([header, *(tuple(str(value) for value in result.values()) for result in results)]))
    return 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--batch-bytes", type=int, default=10**9, help="of the batches together")
    parser.add_argument("--transactions", type=int, default=100_000)
    parser.add_argument("--runs", type=int, default=3, help="starts on each journal")
    parser.add_argument("--data-parent", type=Path, metavar="DIR", help="where the temporary data goes")
    parser.add_argument("--format", choices=("table", "json"), default="table")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
