"""A broker that is not there is told at once: the suite would wait for it test by test."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def told_of(address: str) -> tuple[int, str, str]:
    command = [sys.executable, "-m", "tests.kafka_python_suite.run", "--bootstrap", address]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout, done.stderr


def test_nobody_listens_there() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{bound.getsockname()[1]}"
        assert told_of(address) == (2, "", f"no Kafka broker answers on {address}; is it running?\n")


def test_somebody_listens_and_never_answers() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        assert told_of(address) == (2, "", f"no Kafka broker answers on {address}; is it running?\n")


def test_an_address_without_a_port() -> None:
    assert told_of("localhost") == (2, "", "no Kafka broker answers on localhost; is it running?\n")
