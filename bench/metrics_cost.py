"""What counting for `/metrics` costs a broker: the same Produce requests with it and without it, in turns.

    python -m bench.metrics_cost                    # 1 record of 100 bytes in a request, the most requests
    python -m bench.metrics_cost --records 100      # as clients batch them under load

A broker in this process, on a journal in a temporary directory, is sent requests by another process, some in
flight at a time. What is taken is this process's processor time, the journal's threads included, in short
turns with and without counting, one after the other. Without means: the functions that count do nothing; two
additions per request stay. The last line is one answer to a scrape.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import multiprocessing
import os
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from oncelog.broker.admin import Admin, Answer
from oncelog.broker.assembly import assemble, listen, new_loop
from oncelog.broker.broker import Broker
from oncelog.broker.metrics import EngineCounts, ErrorCounts
from oncelog.broker.options import Address, Listener, Options
from oncelog.broker.recovery import replay
from oncelog.broker.serve import SWITCH_INTERVAL_S
from oncelog.broker.server import Server
from oncelog.disk.real import RealDisk
from oncelog.journal.file import FileJournal
from oncelog.machine.commands import CreateTopic
from oncelog.machine.state import State
from oncelog.store.level0 import PayloadCache, Reader
from oncelog.wire.frames import encode_request
from oncelog.wire.messages.produce import PartitionProduceData, ProduceRequest, TopicProduceData
from oncelog.wire.records import build_batch

IN_FLIGHT = 5
VALUE_BYTES = 100
COUNTING = ((ErrorCounts, "look_at"), (EngineCounts, "submitted"), (EngineCounts, "confirmed"))
TOPICS = 100
ERROR_FREE = b"\3t0\2\0\0\0\0\0\0"
"""In an answer: the topic, its one partition 0, and error code 0."""


async def measure(chosen: argparse.Namespace, directory: str) -> None:
    """Print the three figures."""
    loop = asyncio.get_running_loop()
    broker, server = await start(loop, directory)
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    client = multiprocessing.get_context("spawn").Process(
        target=send, args=(theirs, server.addresses[0].port, request(chosen.records))
    )
    client.start()
    theirs.close()
    pairs = []
    for number in range(chosen.turns):
        # Each way as often the first: what comes second finds the caches warm.
        took = {}
        for is_counting in (True, False) if number % 2 else (False, True):
            with contextlib.nullcontext() if is_counting else WithoutCounting():
                took[is_counting] = await turn(loop, ours, chosen.requests)
        pairs.append((took[True], took[False]))
    ours.send(0)
    client.join()
    per_request_us = statistics.median(without for _, without in pairs) / chosen.requests * 1e6
    shares = [with_it / without - 1 for with_it, without in pairs]
    low, _, high = statistics.quantiles(shares, n=4)
    print(
        f"a Produce of {chosen.records} record(s) without counting: {per_request_us:.1f} us of processor time"
    )
    print(
        f"counting adds {statistics.median(shares):+.2%} "
        f"(middle half of {chosen.turns} pairs of turns: {low:+.2%} to {high:+.2%})"
    )
    print(f"a scrape with {TOPICS} topics: {await scrape_ms(loop, broker, server):.2f} ms")
    await server.close()
    await broker.close()
    broker.reader.close()


async def start(loop: asyncio.AbstractEventLoop, directory: str) -> tuple[Broker, Server]:
    """A broker with some topics."""
    options = Options(data=directory, listen=(Listener(Address("127.0.0.1", 0)),))
    state = State(options.machine_limits())
    journal = FileJournal.open(
        RealDisk(),
        directory,
        post=loop.call_soon_threadsafe,
        file_bytes_max=options.journal_file_bytes_max,
        random_bytes=os.urandom,
    )
    replay(state, journal.replay())
    broker = assemble(
        options,
        state,
        journal,
        loop,
        cluster_id="bench",
        age_ms=0,
        reader=Reader(journal, PayloadCache(options.payload_cache_bytes_max), post=loop.call_soon_threadsafe),
        on_failure=lambda reason: sys.exit(f"the broker failed: {reason}"),
    )
    for number in range(TOPICS):
        broker.engine.execute(CreateTopic(broker.random_uuid(), f"t{number}", 1))
    await broker.engine.settle()
    return broker, await listen(broker, options, loop)


def request(records: int) -> bytes:
    """One Produce request with its size."""
    now_ms = time.time_ns() // 1_000_000
    batch = build_batch([(now_ms, None, bytes(VALUE_BYTES))] * records)
    data = TopicProduceData(name="t0", partition_data=[PartitionProduceData(index=0, records=batch)])
    produce = ProduceRequest(transactional_id=None, acks=-1, timeout_ms=1000, topic_data=[data])
    return encode_request(1, "bench", produce, 11)


def send(told: Connection, port: int, one: bytes) -> None:
    """The process of the client: so many requests, each time it is told; 0 is the end."""
    with socket.create_connection(("127.0.0.1", port)) as broker:
        broker.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        answers = broker.makefile("rb")
        while requests := told.recv():
            for _ in range(requests // IN_FLIGHT):
                broker.sendall(one * IN_FLIGHT)
                for _ in range(IN_FLIGHT):
                    answer = answers.read(int.from_bytes(answers.read(4), "big"))
                    assert ERROR_FREE in answer, f"refused: {answer!r}"
            told.send(requests)


async def turn(loop: asyncio.AbstractEventLoop, client: Connection, requests: int) -> float:
    """Processor seconds of this process for so many requests."""
    began_s = time.process_time()
    client.send(requests)
    await loop.run_in_executor(None, client.recv)
    return time.process_time() - began_s


class WithoutCounting:
    """The functions that count do nothing meanwhile."""

    def __enter__(self) -> None:
        self._kept: list[tuple[type, str, Callable[..., Any]]] = []
        for owner, name in COUNTING:
            self._kept.append((owner, name, getattr(owner, name)))
            setattr(owner, name, lambda *_: None)

    def __exit__(self, *_: object) -> None:
        for owner, name, function in self._kept:
            setattr(owner, name, function)


async def scrape_ms(loop: asyncio.AbstractEventLoop, broker: Broker, server: Server) -> float:
    """The median of processor time for one answer, which nothing else can be done in."""
    admin = Admin(loop, Address("127.0.0.1", 0), rows_max=TOPICS)
    admin.attach(broker, server)
    await broker.engine.settle()
    answers: list[Answer] = []
    times_ms = []
    for _ in range(100):
        began_s = time.process_time()
        admin.answer("/metrics", answers.append)
        times_ms.append((time.process_time() - began_s) * 1000)
    assert all(answer.status == 200 for answer in answers)
    assert len(answers) == 100
    return statistics.median(times_ms)


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--records", type=int, default=1, help="records in a request (default: 1)")
    parser.add_argument("--requests", type=int, default=100, help="requests in a turn (default: 100)")
    parser.add_argument("--turns", type=int, default=800, help="pairs of turns (default: 800)")
    return parser.parse_args()


if __name__ == "__main__":
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    with (
        tempfile.TemporaryDirectory(prefix="oncelog-bench-") as parent,
        asyncio.Runner(loop_factory=lambda: new_loop("auto")) as runner,
    ):
        runner.run(measure(parse(), f"{parent}/data"))
