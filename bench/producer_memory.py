"""What a remembered producer costs: resident memory, and the latency of those that produce beside a million.

    python -m bench.producer_memory                           # the figures of docs/benchmarks.md
    python -m bench.producer_memory --count 100000 --requests 1000 --format json

Memory: a process per kind evolves as many producers as replay would, each from the bytes of its event, and
tells by how much its resident memory grew. A window holds one batch, or five, which is all that it ever
holds; the log keeps one extent for a thousand batches, so that the growth is the producers'.

Latency: two `oncelog serve` stand side by side, one started from a journal with as many producers in 100
partitions, one from a journal with a topic. One request with one record is in flight, at either in turns, by
a producer that is remembered; the p99 is told of tenths of the run, too, so that noise shows. Then once more
while both look all the time for producers to forget. "start s" is processor time until the ready line.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bench.passes import say
from bench.replay import Writer
from bench.report import machine, table
from oncelog.broker.process import resident_bytes
from oncelog.machine.commands import CreateTopic, InitProducerId, Produce, ProduceBatch
from oncelog.machine.events import (
    REGISTRY,
    BatchAppended,
    ProducerIdAssigned,
    TopicCreated,
    TransactionalIdInitialized,
    decode_events,
)
from oncelog.machine.evolve import evolve
from oncelog.machine.moment import At
from oncelog.machine.state import State
from oncelog.wire.definition import Event
from oncelog.wire.frames import encode_request
from oncelog.wire.messages.produce import PartitionProduceData, ProduceRequest, TopicProduceData
from oncelog.wire.records import build_batch, parse_batch_header

TOPIC_ID = b"producer-memory!"
TOPIC = "remembered"
PARTITIONS = 100
ENTRY_EVENTS = 1000
PRODUCERS_IN_FLIGHT = 20
REMEMBERED_PRODUCER = 0
TURN_REQUESTS = 20
PARTS = 10
ERROR_FREE = TOPIC.encode() + b"\2" + bytes(6)
"""In an answer: the topic, its one partition 0, and error code 0."""
WALL_MS = 1_700_000_000_000
KINDS = {
    "a producer in a partition, one batch": 300,
    "a producer in a partition, five batches": 300,
    "a transactional id without a transaction": 500,
    "a producer id alone": 500,
}
"""With the bytes that each may take."""


# --- memory ---


def events(kind: str, count: int) -> Iterator[Event]:
    """So many producers come; partitions are filled one after the other."""
    if kind == "a transactional id without a transaction":
        for number in range(count):
            yield TransactionalIdInitialized(
                transactional_id=f"service-{number:08d}-writer",
                producer_id=number,
                producer_epoch=0,
                previous_producer_id=-1,
                last_epoch=-1,
                timeout_ms=60_000,
                client_id="client",
                host="/127.0.0.1",
            )
    elif kind == "a producer id alone":
        for number in range(count):
            yield ProducerIdAssigned(producer_id=number, client_id="client", host="/127.0.0.1")
    else:
        yield from batches(count, rounds=5 if "five" in kind else 1)


def batches(count: int, rounds: int) -> Iterator[Event]:
    yield TopicCreated(topic_id=TOPIC_ID, name=TOPIC, partition_count=PARTITIONS, configs=[])
    ends = [0] * PARTITIONS
    for sequence in range(rounds):
        for number in range(count):
            partition = number * PARTITIONS // count
            yield BatchAppended(
                topic_id=TOPIC_ID,
                partition=partition,
                base_offset=ends[partition],
                last_offset_delta=0,
                max_timestamp=WALL_MS + number,
                size=100,
                producer_id=number,
                producer_epoch=0,
                base_sequence=sequence,
                is_transactional=False,
                is_log_append_time=False,
            )
            ends[partition] += 1


def grow(kind: str, count: int) -> float:
    """Bytes of resident memory for each producer, in this process, which should be a fresh one."""
    state = State()
    gc.disable()
    before_bytes = resident_bytes()
    assert before_bytes is not None, "this system does not say what a process uses"
    at = At(1, WALL_MS, 0)
    for number, event in enumerate(events(kind, count)):
        if number % ENTRY_EVENTS == 0:
            at = At(number + 1, WALL_MS + number, number)
        for decoded in decode_events(REGISTRY, event.encode()):
            evolve(state, decoded, at)
    after_bytes = resident_bytes()
    assert after_bytes is not None
    return (after_bytes - before_bytes) / count


def memory_rows(count: int) -> list[dict[str, Any]]:
    rows = []
    for kind, most in KINDS.items():
        command = [sys.executable, "-m", "bench.producer_memory", "--grow", kind, "--count", str(count)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        grown = float(done.stdout)
        rows.append({"what": kind, "bytes": round(grown), "most": most, "is_reached": grown <= most})
        say(f"{kind}: {grown:.0f} bytes")
    return rows


# --- latency ---


async def write_journal(directory: Path, count: int) -> None:
    """A topic, and so many producers in its partitions."""
    writer = Writer(directory)
    writer.execute(CreateTopic(TOPIC_ID, TOPIC, PARTITIONS))
    for number in range(max(1, count // PARTITIONS)):
        given = writer.execute(InitProducerId(None, 60_000, -1, -1, "bench", "/"))
        batch = one_record(given.producer_id, 0)
        header = parse_batch_header(batch)
        wanted = tuple(
            ProduceBatch(TOPIC_ID, partition, header, header.size)
            for partition in range(PARTITIONS if count else 1)
        )
        results = writer.engine.produce(Produce(None, wanted, 11, "bench", "/"), [batch] * len(wanted))
        assert all(result.appended for result in results), results
        if number % PRODUCERS_IN_FLIGHT == 0:
            await writer.durable()
    await writer.durable()
    await writer.close()


def one_record(producer_id: int, sequence: int) -> bytes:
    records = [(time.time_ns() // 1_000_000, None, bytes(100))]
    return build_batch(records, producer_id=producer_id, producer_epoch=0, base_sequence=sequence)


class Served:
    """One `oncelog serve` on a directory, and a connection to it."""

    def __init__(self, directory: Path, options: Sequence[str], sequence: int) -> None:
        """sequence: the last one of REMEMBERED_PRODUCER that the directory holds."""
        command = [str(Path(sys.executable).with_name("oncelog")), "serve", "--data", str(directory)]
        self._process = subprocess.Popen(
            [*command, "--listen", "127.0.0.1:0", "--log-level", "warning", *options], stdout=subprocess.PIPE
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline().decode()
        assert line.startswith("oncelog ready: "), line
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        times = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        self.start_cpu_s = (int(times[11]) + int(times[12])) / os.sysconf("SC_CLK_TCK")
        self.resident_mb = (
            next(int(row.split()[1]) for row in status.splitlines() if row.startswith("VmRSS")) / 1e3
        )
        self._socket = socket.create_connection(("127.0.0.1", int(line.split()[2].rpartition(":")[2])))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._answers = self._socket.makefile("rb")
        self._sequence = sequence

    def produce_ms(self) -> float:
        """From the request to its answer."""
        self._sequence += 1
        batch = one_record(REMEMBERED_PRODUCER, self._sequence)
        data = TopicProduceData(name=TOPIC, partition_data=[PartitionProduceData(index=0, records=batch)])
        request = ProduceRequest(transactional_id=None, acks=-1, timeout_ms=1000, topic_data=[data])
        frame = encode_request(self._sequence, "bench", request, 9)
        began = time.perf_counter()
        self._socket.sendall(frame)
        answer = self._answers.read(int.from_bytes(self._answers.read(4), "big"))
        took_ms = (time.perf_counter() - began) * 1e3
        assert ERROR_FREE in answer, answer
        return took_ms

    def stop(self) -> None:
        self._answers.close()
        self._socket.close()
        self._process.terminate()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()


def latency_rows(options: argparse.Namespace, directories: Sequence[Path]) -> list[dict[str, Any]]:
    rows = []
    sequence = 0
    room = ["--max-producers", str(2 * options.count)]
    for name, serve_options in (
        ("produce", room),
        ("produce while all are looked through", [*room, "--expiry-check-interval-ms", "1"]),
    ):
        with contextlib.ExitStack() as stack:
            brokers = [Served(directory, serve_options, sequence) for directory in directories]
            for broker in brokers:
                stack.callback(broker.stop)
            taken = in_turns(brokers, options.requests)
        sequence += options.requests + TURN_REQUESTS
        for broker, took_ms, remembered in zip(brokers, taken, (options.count, 0), strict=True):
            size = len(took_ms) // PARTS
            parts = [took_ms[start : start + size] for start in range(0, size * PARTS, size)]
            p99s = sorted(p99(part) for part in parts)
            rows.append(
                {
                    "what": name,
                    "remembered": remembered,
                    "p50_ms": round(statistics.median(took_ms), 3),
                    "p99_ms": round(p99(took_ms), 3),
                    "p99_of_parts_ms": [round(p99s[0], 3), round(p99s[-1], 3)],
                    "longest_ms": round(max(took_ms), 1),
                    "start_cpu_s": round(broker.start_cpu_s, 2),
                    "resident_mb": round(broker.resident_mb),
                }
            )
    return rows


def p99(values: Sequence[float]) -> float:
    return sorted(values)[len(values) * 99 // 100]


def in_turns(brokers: Sequence[Served], requests: int) -> list[list[float]]:
    """By broker, what each request took, in milliseconds; the first turn is not kept."""
    taken: list[list[float]] = [[] for _ in brokers]
    for _ in range(requests // TURN_REQUESTS + 1):
        for broker, kept in zip(brokers, taken, strict=True):
            kept += [broker.produce_ms() for _ in range(TURN_REQUESTS)]
    return [kept[TURN_REQUESTS:] for kept in taken]


# --- the command ---


def measure_latency(options: argparse.Namespace) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory(prefix="oncelog-producers-", dir=options.data_parent) as parent:
        directories = [Path(parent) / "many", Path(parent) / "none"]
        for directory, count in zip(directories, (options.count, 0), strict=True):
            began = time.perf_counter()
            asyncio.run(write_journal(directory, count))
            say(f"a journal with {count} producers was written in {time.perf_counter() - began:.1f} s")
        return latency_rows(options, directories)


def main() -> int:
    options = parse()
    if options.grow is not None:
        print(grow(options.grow, options.count))
        return 0
    memory = memory_rows(options.count)
    latency = measure_latency(options)
    if options.format == "json":
        print(json.dumps({"machine": machine(), "memory": memory, "latency": latency}, indent=2))
        return 0
    rows = [(each["what"], each["bytes"], f"<= {each['most']}") for each in memory]
    print(table([(f"each of {options.count:,}", "bytes", "target"), *(tuple(map(str, row)) for row in rows)]))
    print()
    header = ("one in flight", "remembered", "p50 ms", "p99 ms", "of tenths", "longest", "start s", "MB")
    print(table([header, *(tuple(map(_shown, row.values())) for row in latency)]))
    return 0


def _shown(value: Any) -> str:
    return "-".join(map(str, value)) if isinstance(value, list) else str(value)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=1_000_000, help="producers that are remembered")
    parser.add_argument("--requests", type=int, default=10_000, help="to each broker")
    parser.add_argument("--data-parent", type=Path, metavar="DIR", help="where the temporary data goes")
    parser.add_argument("--grow", choices=KINDS, help=argparse.SUPPRESS)
    parser.add_argument("--format", choices=("table", "json"), default="table")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
