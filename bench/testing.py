"""What a test waits for: the import, the broker fixture, the first record in a new group, a hundred tests.

    python -m bench.testing                 # medians of 5 runs after one that warms up
    python -m bench.testing --runs 10 --format json

Imports and fixtures are timed in a new process each, as a test session meets them. A record comes through
subscribe() in a group that is new, from the client's creation to the record. The hundred tests are one pytest
run of its own, process start included; each has a topic and a group of its own.
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
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaConsumer
from confluent_kafka import Consumer, Producer

from bench.passes import say
from bench.report import machine, table
from oncelog import Broker

TESTS = 100
BYTE_CODE = Path(tempfile.gettempdir()) / "oncelog-bench-byte-code"

IMPORT = """
import time
began = time.perf_counter()
import oncelog
print(time.perf_counter() - began)
"""

BROKER = """
import time
import oncelog.embedded
from oncelog.broker.registry import Registry
Registry.load()
began = time.perf_counter()
with oncelog.Broker():
    print(time.perf_counter() - began)
"""

TIMED_FIXTURE = """
import pytest
import time

@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(fixturedef):
    began = time.perf_counter()
    result = yield
    if fixturedef.argname == "oncelog_broker":
        print("took", time.perf_counter() - began)
    return result
"""

TEST_FILE = """
import asyncio
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from confluent_kafka import Consumer, Producer

@pytest.mark.parametrize("number", range({tests}))
def test_confluent(oncelog_broker, oncelog_topic, number):
    producer = Producer({{"bootstrap.servers": oncelog_broker.bootstrap}})
    producer.produce(oncelog_topic, b"one")
    assert producer.flush(10) == 0
    consumer = Consumer({{"bootstrap.servers": oncelog_broker.bootstrap, "group.id": oncelog_topic,
                         "auto.offset.reset": "earliest"}})
    consumer.subscribe([oncelog_topic])
    assert consumer.poll(10).value() == b"one"
    consumer.close()

@pytest.mark.parametrize("number", range({tests}))
def test_aiokafka(oncelog_broker, oncelog_topic, number):
    async def main():
        async with AIOKafkaProducer(bootstrap_servers=oncelog_broker.bootstrap) as producer:
            await producer.send_and_wait(oncelog_topic, b"one")
        async with AIOKafkaConsumer(oncelog_topic, bootstrap_servers=oncelog_broker.bootstrap,
                                    group_id=oncelog_topic, auto_offset_reset="earliest") as consumer:
            assert (await consumer.getone()).value == b"one"
    asyncio.run(main())
"""


def in_a_new_process(program: str) -> float:
    return float(subprocess.check_output([sys.executable, "-c", program], env=environment()))


def environment() -> dict[str, str]:
    """As a developer's: byte code is kept, here in a place of its own, and there from the second time on."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "PYTHONPYCACHEPREFIX": str(BYTE_CODE)}


def import_s() -> float:
    return in_a_new_process(IMPORT)


def broker_s() -> float:
    return in_a_new_process(BROKER)


def fixture_s() -> float:
    """As a test session meets it: in a process of pytest, which has not imported the broker yet."""
    with tempfile.TemporaryDirectory() as directory:
        Path(directory, "conftest.py").write_text(TIMED_FIXTURE)
        Path(directory, "test_it.py").write_text("def test_it(oncelog_broker): pass")
        printed = run_pytest(directory, "-s")
    (line,) = [line for line in printed.splitlines() if line.startswith("took ")]
    return float(line.split()[1])


def run_pytest(directory: str, *options: str) -> str:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options]
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, env=environment())
    if done.returncode != 0:
        raise SystemExit(f"not all tests passed:\n{done.stdout[-2000:]}")
    return done.stdout


def restore_s() -> float:
    """To a state of ten topics with a hundred records each."""
    topics = [f"orders-{number}" for number in range(10)]
    with Broker(topics=topics) as broker:
        producer = Producer({"bootstrap.servers": broker.bootstrap, "log_level": 0})
        for number in range(1000):
            producer.produce(topics[number % 10], bytes(100))
        assert producer.flush(10) == 0
        snapshot = broker.snapshot()
        producer.produce(topics[0], b"one more")
        assert producer.flush(10) == 0
        began = time.perf_counter()
        broker.restore(snapshot)
        return time.perf_counter() - began


def first_record_s(consume: Callable[[str, str], None]) -> float:
    with Broker(topics=["orders"]) as broker:
        producer = Producer({"bootstrap.servers": broker.bootstrap, "log_level": 0})
        producer.produce("orders", b"one")
        assert producer.flush(10) == 0
        began = time.perf_counter()
        consume(broker.bootstrap, "orders")
        return time.perf_counter() - began


def confluent(bootstrap: str, topic: str) -> None:
    """Up to the first record; closing is not counted, it happens when the consumer is forgotten."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "g",
            "auto.offset.reset": "earliest",
            "log_level": 0,
        }
    )
    consumer.subscribe([topic])
    message = consumer.poll(10)
    assert message is not None
    assert message.value() == b"one"


def aiokafka(bootstrap: str, topic: str) -> None:
    async def main() -> None:
        consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, group_id="g", auto_offset_reset="earliest")
        consumer.subscribe([topic])
        async with consumer:
            assert (await consumer.getone()).value == b"one"

    asyncio.run(main())


def hundred_tests_s(client: str) -> float:
    with tempfile.TemporaryDirectory() as directory:
        Path(directory, "test_hundred.py").write_text(TEST_FILE.format(tests=TESTS))
        began = time.perf_counter()
        printed = run_pytest(directory, "-k", client)
        took_s = time.perf_counter() - began
    assert f"{TESTS} passed" in printed
    return took_s


FIGURES: list[tuple[str, Callable[[], float], float | None, bool]] = [
    ("import oncelog", import_s, 0.150, True),
    ("fixture oncelog_broker ready, imports included", fixture_s, 0.100, True),
    ("Broker() entered, imported before", broker_s, None, True),
    ("restore() to 10 topics, 1,000 records", restore_s, 0.005, True),
    ("first record in a new group, aiokafka", lambda: first_record_s(aiokafka), 0.5, True),
    ("first record in a new group, confluent-kafka", lambda: first_record_s(confluent), 1.5, True),
    (f"{TESTS} tests, confluent-kafka", lambda: hundred_tests_s("confluent"), 30.0, False),
    (f"{TESTS} tests, aiokafka", lambda: hundred_tests_s("aiokafka"), 30.0, False),
]
"""What, how, the target in seconds, and whether it is run several times."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--format", choices=["text", "json"], default="text")
    options = parser.parse_args()
    found: list[dict[str, Any]] = []
    for what, measure, target_s, is_repeated in FIGURES:
        say(what)
        if is_repeated:
            measure()
        times = sorted(measure() for _ in range(options.runs if is_repeated else 1))
        found.append(
            {"what": what, "median_s": statistics.median(times), "max_s": times[-1], "target_s": target_s}
        )
    if options.format == "json":
        print(json.dumps({"machine": machine(), "runs": options.runs, "figures": found}, indent=2))
        return
    rows = [
        [
            figure["what"],
            f"{figure['median_s']:.3f} s",
            f"{figure['max_s']:.3f} s",
            "" if figure["target_s"] is None else f"{figure['target_s']:g} s",
        ]
        for figure in found
    ]
    print(table([["", "median", "slowest", "target"], *rows]))


if __name__ == "__main__":
    main()
