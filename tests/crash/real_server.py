"""A broker that is killed at chosen moments: running, frozen, or while it replays its journal.

Knows a process and the files that it has open, nothing of what it serves.
"""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from tests.support.server import READY_LINE, ServerDied, ServerProcess

PORTS = range(20_000, 30_000)
"""Below those that Linux gives to outgoing connections: nobody gets the broker's port while it is dead."""
LOOK_INTERVAL_S = 0.0005
REPLAYED = b" replayed "
"""What the log says once it is done."""


class KilledServer(ServerProcess):
    def kill_if(self, still_true: Callable[[], bool]) -> bool:
        """Stop the process; kill it if this holds with nothing moving any more, else let it go on.

        A process that is stopped and then killed is killed where it was stopped: this makes a good aim and
        changes nothing about the kill.
        """
        os.kill(self.process_id, signal.SIGSTOP)
        time.sleep(LOOK_INTERVAL_S)
        if still_true():
            self.kill()
            return True
        os.kill(self.process_id, signal.SIGCONT)
        return False

    def kill_in_replay(self, chance: random.Random, after_s_max: float, timeout_s: float = 30.0) -> bool:
        """Start, and kill soon after the journal is opened. Returns whether it was not replayed yet."""
        assert not self.is_running
        self.starts += 1
        with self.output_path.open("ab") as output:
            printed_before = output.tell()
            self._process = subprocess.Popen(
                self._command(), stdout=output, stderr=output, env=self._environment()
            )
        deadline_s = time.monotonic() + timeout_s
        while not self._has_journal_open():
            if self._process.poll() is not None or time.monotonic() > deadline_s:
                self._process.kill()
                self._process.wait()
                raise ServerDied(f"the broker did not open its journal:\n{self.output()}")
            time.sleep(LOOK_INTERVAL_S)
        time.sleep(chance.uniform(0, after_s_max))
        self.kill()
        printed = self.output_path.read_bytes()[printed_before:]
        return not (REPLAYED in printed or READY_LINE.search(printed))

    def _has_journal_open(self) -> bool:
        journal = str(self.data / "journal")
        descriptors = Path(f"/proc/{self.process_id}/fd")
        try:
            return any(os.readlink(each).startswith(f"{journal}/") for each in descriptors.iterdir())
        except OSError:
            return False  # closed while we looked


def free_address() -> str:
    """An address that nobody uses now. Not drawn from a seed: two runs side by side would meet."""
    while True:
        port = random.SystemRandom().choice(PORTS)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return f"127.0.0.1:{port}"
