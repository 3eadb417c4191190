"""The processes of the demonstration: a broker that can be killed and started again, workers, and the loader.

Each runs in a session of its own, so that a kill -9 reaches all of it and Ctrl-C reaches only the
orchestrator.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from demo.board import Board

READY_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 20.0


class Failed(Exception):
    """The run cannot go on; the message says why."""


class Broker:
    """A broker command with {data} and {address} in it; ready when it prints a line with the address."""

    def __init__(self, command: list[str], directory: Path, address: str) -> None:
        data = str(directory / "data")
        self.command = [part.format(data=data, address=address) for part in command]
        self.address = address
        self.log_path = directory / "broker.log"
        self.starts = 0
        self.slowest_start_s = 0.0

    def start(self) -> None:
        """Start it, on the data of its predecessor if there was one, and wait until it is ready."""
        began_s = time.monotonic()
        self.process = subprocess.Popen(
            self.command, stdout=subprocess.PIPE, stderr=self.log_path.open("ab"), start_new_session=True
        )
        ready = threading.Event()
        threading.Thread(target=self._read_output, args=(self.process, ready), daemon=True).start()
        if not ready.wait(READY_TIMEOUT_S):
            raise Failed(f"the broker did not become ready; see {self.log_path}")
        self.starts += 1
        self.slowest_start_s = max(self.slowest_start_s, time.monotonic() - began_s)

    def kill(self) -> None:
        kill(self.process)

    def freeze(self) -> None:
        os.killpg(self.process.pid, signal.SIGSTOP)

    def wake(self) -> None:
        os.killpg(self.process.pid, signal.SIGCONT)

    def check(self) -> None:
        if self.process.poll() is not None:
            raise Failed(f"the broker ended by itself with {self.process.returncode}; see {self.log_path}")

    def _read_output(self, process: subprocess.Popen[bytes], ready: threading.Event) -> None:
        assert process.stdout is not None
        with process.stdout, self.log_path.open("ab") as log_file:
            for line in process.stdout:
                log_file.write(line)
                log_file.flush()
                if self.address.encode() in line:
                    ready.set()


class WorkerProcess:
    """One life of a worker. Its slot, and with it its transactional id, passes on to the next one."""

    def __init__(self, slot: int, life: int, directory: Path, arguments: list[str]) -> None:
        board_path = directory / f"worker-{slot}-{life}.board"
        self.slot = slot
        self.board = Board(board_path)
        self.log_path = directory / f"worker-{slot}.log"
        own = ["--transactional-id", f"delays-{slot}", "--board", str(board_path)]
        command = [sys.executable, *arguments, *own]
        with self.log_path.open("ab") as log_file:
            self.process = subprocess.Popen(command, stdout=log_file, stderr=log_file, start_new_session=True)

    def kill(self) -> None:
        kill(self.process)

    def freeze(self) -> None:
        os.killpg(self.process.pid, signal.SIGSTOP)

    def wake(self) -> None:
        os.killpg(self.process.pid, signal.SIGCONT)


class LoaderProcess:
    """The loader; `allow` says how many rows may be published by now."""

    def __init__(self, directory: Path, arguments: list[str]) -> None:
        self.allowed = 0
        self.log_path = directory / "loader.log"
        with self.log_path.open("ab") as log_file:
            self.process = subprocess.Popen(
                [sys.executable, *arguments], stdin=subprocess.PIPE, stderr=log_file, start_new_session=True
            )

    def allow(self, rows: int) -> None:
        if rows > self.allowed:
            self.allowed = rows
            assert self.process.stdin is not None
            self.process.stdin.write(f"{rows}\n".encode())
            self.process.stdin.flush()

    def kill(self) -> None:
        kill(self.process)

    def check(self) -> None:
        if self.process.poll():
            raise Failed(f"the loader ended with {self.process.returncode}; see {self.log_path}")


def kill(process: subprocess.Popen[bytes]) -> None:
    """kill -9 the process and what it has started, and wait until it is gone."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def stop(process: subprocess.Popen[bytes]) -> None:
    """Ask it to end; kill it if it does not."""
    process.terminate()
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        kill(process)
