"""Watches how much room the journal has left: accepting stops before a write can fail for want of it.

Asks now and then, and sooner where much was written. Knows the journal's `free_bytes`, not what is refused.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from oncelog.broker.deadlines import Deadlines

log = logging.getLogger("oncelog.disk")

CHECK_INTERVAL_MS = 1000
CHECK_AFTER_BYTES = 32 << 20
"""Or a quarter of the reserve, where that is less."""
ENTRY_BYTES = 4096
"""What an entry may take besides its payload."""


class DiskSpace:
    """free_bytes: what was left at the last look; is_nearly_full: that was less than `free_bytes_min`.

    What keeps the log going (ends of transactions, offsets, heartbeats) is accepted all the same; the reserve
    is for it.
    """

    def __init__(self, free_bytes: Callable[[], int], free_bytes_min: int, deadlines: Deadlines) -> None:
        self.is_nearly_full = False
        self.free_bytes = 0
        self._free_bytes = free_bytes
        self._free_bytes_min = free_bytes_min
        self._deadlines = deadlines
        self._unseen_bytes = 0
        self._unseen_bytes_max = min(CHECK_AFTER_BYTES, free_bytes_min // 4)
        self._check_and_repeat()

    def wrote_entry(self, payload_bytes: int) -> None:
        """One more entry has gone to the journal: on a disk it fills blocks, in memory it costs objects."""
        self.wrote(payload_bytes + ENTRY_BYTES)

    def wrote(self, size_bytes: int) -> None:
        """So much more has gone to the journal."""
        self._unseen_bytes += size_bytes
        if self._unseen_bytes >= self._unseen_bytes_max:
            self._check()

    def _check_and_repeat(self) -> None:
        self._check()
        self._deadlines.after(CHECK_INTERVAL_MS, self._check_and_repeat)

    def _check(self) -> None:
        self._unseen_bytes = 0
        try:
            free_bytes = self._free_bytes()
        except OSError as failed:
            log.warning("the free space of the data directory is not known: %s", failed)
            return
        self.free_bytes = free_bytes
        was_nearly_full = self.is_nearly_full
        self.is_nearly_full = free_bytes < self._free_bytes_min
        if self.is_nearly_full and not was_nearly_full:
            log.error(
                "the disk is nearly full: %d MiB are free, %d MiB are kept in reserve "
                "(--disk-reserve-bytes); Produce and InitProducerId are refused until there is more",
                free_bytes >> 20,
                self._free_bytes_min >> 20,
            )
        elif was_nearly_full and not self.is_nearly_full:
            log.warning("there is room on the disk again: %d MiB are free", free_bytes >> 20)
