"""`oncelog serve` on each event loop, and as other systems would run it: stock clients, kill -9, large
frames, readers that are slow, connections that are cut.

How this process is made to look like another system, and what that shows, is in
`tests/support/other_systems.py` and docs/platforms.md.
"""

from __future__ import annotations

import os
import re
import socket
import struct
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import confluent_kafka
import pytest

import oncelog
from tests.docs.blocks import ROOT
from tests.operations.scraping import parsed
from tests.support.batches import batch
from tests.support.other_systems import BARE
from tests.support.raw import RawConnection
from tests.support.server import ServerProcess
from tests.support.speaking import batches_in, fetch_request, init_producer_id, produce_many
from tests.support.topics import create_topic
from tests.support.waiting import wait_for

TOPIC, GROUP = "topic", "group"
LOOPS = ("uvloop", "asyncio")
SYSTEMS = ("macos", "windows")
OF_THE_SYSTEM = {"process_resident_memory_bytes", "process_max_fds"}
"""Metrics that Windows does not tell without more than is used of it."""
VALUE_BYTES = 900_000
PARTITIONS = 8


def as_other_system(name: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "tests.support.other_systems", name, *arguments]


def run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


class OneOf(ServerProcess):
    """A broker on one of LOOPS, or on one of SYSTEMS."""

    def __init__(self, data: Path, way: str) -> None:
        loop = ["--loop", way] if way in LOOPS else []
        super().__init__(
            data,
            options=[*loop, "--admin", "127.0.0.1:0", "--group-initial-rebalance-delay-ms", "0"],
            system=None if way in LOOPS else way,
        )
        self.way = way

    def runs_on_uvloop(self) -> bool:
        return "uvloop" in Path(f"/proc/{self.process_id}/maps").read_text()

    def metrics(self) -> set[str]:
        *_, address = re.findall(r"^oncelog ready: .* admin=(\S+)", self.output(), re.MULTILINE)
        with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as answer:
            return set(parsed(answer.read().decode()))


@pytest.fixture(params=[*LOOPS, *SYSTEMS])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[OneOf]:
    if request.param == "uvloop":
        pytest.importorskip("uvloop", reason="uvloop is not there for this Python")
    with OneOf(tmp_path / "data", request.param) as server:
        yield server


def transactional(server: ServerProcess) -> confluent_kafka.Producer:
    settings = {"bootstrap.servers": server.bootstrap, "transactional.id": "id", "log_level": 0}
    producer = confluent_kafka.Producer({**settings, "reconnect.backoff.max.ms": 200})
    producer.init_transactions(30)
    return producer


def send(producer: confluent_kafka.Producer, *values: bytes) -> None:
    producer.begin_transaction()
    for value in values:
        producer.produce(TOPIC, value, partition=0)
    assert producer.flush(30) == 0


def consumed(server: ServerProcess, count: int) -> list[bytes]:
    """So many committed values, by a new member of the group, whose offsets are committed."""
    consumer = confluent_kafka.Consumer(
        {
            "bootstrap.servers": server.bootstrap,
            "group.id": GROUP,
            "auto.offset.reset": "earliest",
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
        }
    )
    consumer.subscribe([TOPIC])
    values: list[bytes] = []

    def one_more() -> bool:
        message = consumer.poll(1.0)
        if message is not None and message.error() is None:
            values.append(message.value())
        return len(values) == count

    wait_for(one_more, f"{count} records", timeout_s=30)
    consumer.commit(asynchronous=False)
    consumer.close()
    return values


def test_transactions_and_groups_over_kills_and_restarts(server: OneOf) -> None:
    if server.way in LOOPS:
        assert server.runs_on_uvloop() == (server.way == "uvloop")
    create_topic(server.bootstrap, TOPIC, 1, {})
    producer = transactional(server)
    send(producer, b"a", b"b")
    producer.commit_transaction(30)
    send(producer, b"never")
    server.restart()
    assert consumed(server, 2) == [b"a", b"b"]
    again = transactional(server)
    with pytest.raises(confluent_kafka.KafkaException):
        producer.commit_transaction(30)
    send(again, b"c")
    again.commit_transaction(30)
    assert server.stop() == 0
    server.start()
    assert consumed(server, 1) == [b"c"], "the group goes on behind what it has committed"
    assert server.stop() == 0


def test_large_frames_slow_readers_and_cut_connections(server: OneOf) -> None:
    create_topic(server.bootstrap, TOPIC, PARTITIONS, {})
    sent = [batch([bytes([partition]) * VALUE_BYTES]) for partition in range(PARTITIONS)]
    connection = RawConnection(server.bootstrap)
    answers = produce_many(connection, [(TOPIC, number, records) for number, records in enumerate(sent)])
    assert {answer.error_code for answer in answers.values()} == {0}

    slow, cut = RawConnection(server.bootstrap), RawConnection(server.bootstrap)
    for _ in range(6):
        for partition in range(PARTITIONS):
            for each in (slow, cut):
                each.send(fetch_request(TOPIC, partition=partition), 11)
    # Neither reads; others are served all the same.
    assert produce_many(connection, [(TOPIC, 0, batch([b"small"]))])[TOPIC, 0].error_code == 0
    cut.send_bytes(struct.pack(">i", 1_000_000) + b"half a frame")
    cut._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    cut.close()
    for number in range(6 * PARTITIONS):
        ((found,),) = [topic.partitions for topic in slow.receive().responses]
        (header, records), *_ = batches_in(found.records)
        assert header.base_offset == 0
        assert records[61:] == sent[number % PARTITIONS][61:]
    slow.close()
    assert produce_many(connection, [(TOPIC, 1, batch([b"small"]))])[TOPIC, 1].error_code == 0
    connection.close()
    told = server.metrics()
    assert "process_cpu_seconds_total" in told
    assert OF_THE_SYSTEM & told == (set() if server.way == "windows" else OF_THE_SYSTEM)
    assert "Traceback" not in server.output()


@pytest.mark.parametrize("name", SYSTEMS)
def test_the_doctor_examines_other_systems(tmp_path: Path, name: str) -> None:
    done = run(as_other_system(name, "doctor", str(tmp_path)))
    assert done.stderr == ""
    assert [line.split()[1] for line in done.stdout.splitlines()[:-1]] == [
        "filesystem",
        "sync",
        "open",
        "clock",
        "free",
        "memory",
    ]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", [BARE, "windows"])
def test_in_memory_a_broker_needs_nothing_of_the_system(name: str) -> None:
    """Nor does the command line, to say what it can do."""
    program = f"""\
from tests.support.other_systems import become
become({name!r})

import oncelog
from oncelog.cli.main import main
from tests.support.raw import RawConnection
from tests.support.speaking import produce, stored_batches
from tests.support.batches import batch

assert main(["--help"]) == 0
with oncelog.Broker(topics=["topic"]) as broker:
    connection = RawConnection(broker.bootstrap)
    assert produce(connection, "topic", batch([b"one"])).error_code == 0
    connection.close()
    broker.crash()
    connection = RawConnection(broker.bootstrap)
    ((_, records),) = stored_batches(connection, "topic")
    assert b"one" in records
    connection.close()
"""
    done = run([sys.executable, "-c", program])
    assert (done.returncode, done.stderr) == (0, "")
    assert "usage: oncelog" in done.stdout


def test_a_console_that_lacks_a_character_shows_its_number() -> None:
    with oncelog.Broker() as broker:
        connection = RawConnection(broker.bootstrap)
        assert init_producer_id(connection, "pay→").error_code == 0
        connection.close()
        command = [sys.executable, "-m", "oncelog.cli.main", "txn", "list", "--bootstrap", broker.bootstrap]
        done = subprocess.run(
            command,
            env={**os.environ, "PYTHONIOENCODING": "cp1252"},
            capture_output=True,
            timeout=60,
            check=False,
        )
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"pay\\u2192" in done.stdout


def test_a_loop_that_is_not_installed_cannot_be_started_on(tmp_path: Path) -> None:
    program = f"""\
import sys
sys.modules["uvloop"] = None
from oncelog.cli.main import main
sys.exit(main(["serve", "--data", {str(tmp_path / "data")!r}, "--listen", "127.0.0.1:0", "--loop", "uvloop"]))
"""
    done = run([sys.executable, "-c", program])
    assert done.returncode == 3
    assert "uvloop is not installed" in done.stderr
