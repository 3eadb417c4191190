"""`oncelog serve` as a real process: start it, kill it, start it again on the same directory and port.

Knows the command line and the ready line only; nothing of what the broker does. ONCELOG_TEST_SYSTEM, or
`system`, names a system that the process is to take itself for (`tests/support/other_systems.py`).
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

READY_LINE = re.compile(rb"^oncelog ready: (\[?[0-9A-Za-z_.:-]+?\]?):(\d+)\s", re.MULTILINE)
"""The first HOST:PORT of the line that `oncelog serve` prints once it takes connections."""


class ServerDied(AssertionError):
    """The broker's process ended, or did not become ready in time. The message holds what it printed."""


class ServerProcess:
    """One broker on one data directory. It keeps its port over restarts, so that clients find it again."""

    def __init__(
        self,
        data: Path,
        *,
        listen: str = "127.0.0.1:0",
        options: Sequence[str] = (),
        environment: dict[str, str] | None = None,
        system: str | None = None,
    ) -> None:
        self.data = data
        self.system = system or os.environ.get("ONCELOG_TEST_SYSTEM")
        self.options = tuple(options)
        self.environment = dict(environment or {})
        self.output_path = data.parent / f"{data.name}.output"
        self.starts = 0
        self._listen = listen
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def bootstrap(self) -> str:
        """HOST:PORT of the running (or last) process."""
        assert not self._listen.endswith(":0"), "the server was never ready"
        return self._listen

    @property
    def process_id(self) -> int:
        assert self._process is not None, "the server is not running"
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self, ready_timeout_s: float = 30.0) -> ServerProcess:
        """Start the process and return once it has printed its ready line."""
        assert not self.is_running, "the server runs already"
        self.starts += 1
        with self.output_path.open("ab") as output:
            printed_before = output.tell()
            self._process = subprocess.Popen(
                self._command(), stdout=output, stderr=output, env=self._environment()
            )
        self._await_ready(printed_before, ready_timeout_s)
        return self

    def kill(self) -> None:
        """kill -9: the process gets no chance to do anything."""
        self._end(signal.SIGKILL)

    def stop(self, timeout_s: float = 20.0) -> int:
        """SIGTERM, and wait for the clean end. Returns the exit status."""
        return self._end(signal.SIGTERM, timeout_s)

    def restart(self) -> None:
        """kill -9 if it still runs, then start again with the same directory and port."""
        if self.is_running:
            self.kill()
        self.start()

    def output(self) -> str:
        """All that the processes on this directory have printed so far."""
        with contextlib.suppress(FileNotFoundError):
            return self.output_path.read_text(errors="replace")
        return ""

    def _command(self) -> list[str]:
        program = [str(Path(sys.executable).with_name("oncelog"))]
        if self.system:
            program = [sys.executable, str(Path(__file__).with_name("other_systems.py")), self.system]
        return [*program, "serve", "--data", str(self.data), "--listen", self._listen, *self.options]

    def _environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("ONCELOG_")}
        return {**kept, "PYTHONUNBUFFERED": "1", **self.environment}

    def _await_ready(self, printed_before: int, timeout_s: float) -> None:
        assert self._process is not None
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            printed = self.output_path.read_bytes()[printed_before:]
            if match := READY_LINE.search(printed):
                self._listen = f"{match[1].decode()}:{match[2].decode()}"
                return
            if self._process.poll() is not None:
                raise ServerDied(f"oncelog serve ended with {self._process.returncode}:\n{self.output()}")
            time.sleep(0.005)
        self.kill()
        raise ServerDied(f"oncelog serve was not ready within {timeout_s} s:\n{self.output()}")

    def _end(self, with_signal: signal.Signals, timeout_s: float = 20.0) -> int:
        assert self._process is not None, "the server was never started"
        self._process.send_signal(with_signal)
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise ServerDied(f"{with_signal.name} did not end the server within {timeout_s} s") from None

    def __enter__(self) -> ServerProcess:
        return self if self.is_running else self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.is_running:
            self.kill()
