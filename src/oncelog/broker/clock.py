"""The clocks of a serving process: wall time for dating records, monotonic time for timeouts.

Everything else is handed times; simulation and tests hand in another clock. Must not know the journal.
"""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Where a broker gets its time from."""

    def wall_ms(self) -> int:
        """Unix time in milliseconds, as the system has it; may go back."""
        ...

    def monotonic_ms(self) -> int:
        """Milliseconds since some moment of this process; never goes back."""
        ...


class SystemClock:
    """The clocks of the operating system."""

    def wall_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic_ms(self) -> int:
        return time.monotonic_ns() // 1_000_000
