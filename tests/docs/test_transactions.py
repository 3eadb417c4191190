"""What docs/transactions.md shows of `oncelog txn explain` is what it prints, moments and durations aside."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from confluent_kafka import KafkaException, Producer

from tests.docs.blocks import blocks
from tests.support.server import ServerProcess
from tests.support.topics import create_topic

ONCELOG = str(Path(sys.executable).with_name("oncelog"))
MOMENT = re.compile(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00")
DURATION = re.compile(r"after \d+ ms")
ENTRY = re.compile(r"(MOMENT +|entry )\d+")


def without_moments(text: str) -> list[str]:
    """Lines, with what differs from run to run named; columns are as wide as what stands in them."""
    text = DURATION.sub("after N ms", MOMENT.sub("MOMENT", text))
    return [re.sub(r"\s{2,}", "  ", line).rstrip() for line in ENTRY.sub(r"\1N", text).strip().splitlines()]


def producer(server: ServerProcess, client_id: str) -> Producer:
    made = Producer(
        {
            "bootstrap.servers": server.bootstrap,
            "transactional.id": "payments-7",
            "client.id": client_id,
            "log_level": 0,
        }
    )
    made.init_transactions(30)
    return made


def write(to: Producer, value: bytes) -> None:
    to.begin_transaction()
    to.produce("orders", value, partition=0)
    assert to.flush(30) == 0


def explained(*arguments: str) -> str:
    done = subprocess.run(
        [ONCELOG, "txn", "explain", "payments-7", *arguments], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_the_lives_that_are_shown_are_what_is_printed(server_in: ServerProcess) -> None:
    server_in.options = ("--admin", "127.0.0.1:0")
    with server_in:
        create_topic(server_in.bootstrap, "orders", 1, {})
        zombie = producer(server_in, "payments-a")
        write(zombie, b"one")
        zombie.commit_transaction(30)
        write(zombie, b"two")
        successor = producer(server_in, "payments-b")
        with pytest.raises(KafkaException):
            zombie.commit_transaction(30)
        write(successor, b"two")
        successor.commit_transaction(30)
        address = re.findall(r" admin=(127\.0\.0\.1:\d+)$", server_in.output(), re.MULTILINE)[-1]
        running = explained("--admin", address)
        del zombie, successor
        server_in.stop()
    stopped = explained("--data", str(server_in.data))
    shown = blocks("docs/transactions.md", "text")
    assert [without_moments(each) for each in shown] == [
        without_moments(running),
        without_moments(stopped),
    ], f"docs/transactions.md should show\n{running}\n{stopped}"
