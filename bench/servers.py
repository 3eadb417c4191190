"""The brokers that a benchmark starts by itself: oncelog, the null broker, and Apache Kafka.

Each is a process on this machine with a port of its own and a temporary data directory; `start` returns once
the broker answers, `stop` leaves nothing behind. Knows nothing of what is measured.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from bench.kafka_server import KafkaServer, answers_api_versions, free_port

START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 20.0
ROOT = Path(__file__).resolve().parent.parent


class Server(Protocol):
    """What a benchmark needs of a broker that it started."""

    bootstrap: str

    @property
    def pid(self) -> int: ...

    def prepare(self) -> None:
        """What an installation does once (Kafka formats its storage): it is not part of starting."""

    def start(self) -> None: ...

    def stop(self) -> None: ...


class CommandServer:
    """A broker that is one command; {port} and {data} in it are filled in."""

    def __init__(self, command: Sequence[str], directory: Path | None = None) -> None:
        self._port = free_port()
        self.bootstrap = f"127.0.0.1:{self._port}"
        self._directory = Path(tempfile.mkdtemp(prefix="oncelog-bench-", dir=directory))
        self._command = [part.format(port=self._port, data=self._directory / "data") for part in command]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None, "not started"
        return self._process.pid

    def prepare(self) -> None:
        pass

    def start(self) -> None:
        output_path = self._directory / "output.log"
        with output_path.open("wb") as output:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, cwd=ROOT
            )
        deadline = time.monotonic() + START_TIMEOUT_S
        while not answers_api_versions(self._port):
            if self._process.poll() is not None or time.monotonic() > deadline:
                self._process.kill()
                raise SystemExit(
                    f"{' '.join(self._command)} did not start:\n{output_path.read_text()[-2000:]}"
                )
            time.sleep(0.002)

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None
        shutil.rmtree(self._directory, ignore_errors=True)


class PausableKafka:
    """A Kafka that stays warm: between its passes its process is stopped (SIGSTOP), not ended."""

    def __init__(self, server: KafkaServer) -> None:
        self._server = server
        self.bootstrap = server.bootstrap

    @property
    def pid(self) -> int:
        return self._server.pid

    def pause(self) -> None:
        """It runs no more, and holds no port's answers; others have the machine for themselves."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Returns when it answers again."""
        os.kill(self.pid, signal.SIGCONT)
        deadline = time.monotonic() + START_TIMEOUT_S
        while not answers_api_versions(self._server.port):
            if time.monotonic() > deadline:
                raise SystemExit("Kafka does not answer after it was resumed")
            time.sleep(0.05)


def new_oncelog(data_parent: Path | None = None) -> Server:
    """`oncelog serve` of this environment on an empty directory."""
    oncelog = str(Path(sys.executable).with_name("oncelog"))
    return CommandServer([oncelog, "serve", "--data", "{data}", "--listen", "127.0.0.1:{port}"], data_parent)


def new_null_broker(data_parent: Path | None = None) -> Server:
    """bench/null_broker.py."""
    return CommandServer([sys.executable, "-m", "bench.null_broker", "--port", "{port}"], data_parent)


def new_kafka(data_parent: Path | None = None) -> KafkaServer:
    """Apache Kafka on an empty directory."""
    directory = (
        None if data_parent is None else Path(tempfile.mkdtemp(prefix="oncelog-bench-", dir=data_parent))
    )
    return KafkaServer(free_port(), directory=directory)


SERVERS: dict[str, Callable[[Path | None], Server]] = {
    "oncelog": new_oncelog,
    "kafka": new_kafka,
    "null": new_null_broker,
}
