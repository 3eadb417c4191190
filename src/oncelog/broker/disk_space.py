"""Watches how much room the journal has left: accepting stops before a write can fail for want of it.

Asks now and then, and sooner where much was written. Knows the journal's `free_bytes` and what each tier of
commands must leave, not what is refused.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from oncelog.broker.deadlines import Deadlines
from oncelog.broker.room import Tier

log = logging.getLogger("oncelog.disk")

CHECK_INTERVAL_MS = 1000
CHECK_AFTER_BYTES = 32 << 20
"""Or a quarter of the reserve, where that is less."""
ENTRIES_BYTES = 2 * 4096
"""What a decision may take besides its events and batches: it may open an entry, and a seal follows that."""
FOR_ENDS_BYTES_MAX, FOR_ENDS_SHARE = 64 << 20, 2
"""Of the reserve, what is kept for ends: half, where that is not more than plenty."""
OF_MEMORY = "disk_reserve_bytes; an eighth of memory_bytes_max unless it was set"
FOR_OWN_ENDS_SHARE = 4
"""Of that, what is left to the broker's own ends."""


class DiskSpace:
    """free_bytes: what was left at the last look; is_nearly_full: that was less than `free_bytes_min`.

    Produce stops at the reserve, which is for what keeps the log going; `has_room` keeps the lower parts of
    it for ends of transactions and deletions, and for those that nobody asks for.
    """

    def __init__(
        self,
        free_bytes: Callable[[], int],
        free_bytes_min: int,
        deadlines: Deadlines,
        *,
        is_memory: bool = False,
    ) -> None:
        self.is_nearly_full = False
        self.free_bytes = 0
        self._free_bytes = free_bytes
        self._free_bytes_min = free_bytes_min
        self._deadlines = deadlines
        self._is_memory = is_memory
        self._is_known = False
        for_ends_bytes = min(FOR_ENDS_BYTES_MAX, free_bytes_min // FOR_ENDS_SHARE)
        self._left_by = {
            Tier.GROWS: for_ends_bytes,
            Tier.ENDS: for_ends_bytes // FOR_OWN_ENDS_SHARE,
            Tier.OWN: 0,
        }
        self._unseen_bytes = 0
        self._unseen_bytes_max = min(CHECK_AFTER_BYTES, free_bytes_min // 4)
        self._check_and_repeat()

    def has_room(self, tier: Tier, size_bytes: int) -> bool:
        """Whether so much more than was told of by `wrote` leaves what commands of that tier must leave.

        What was told of is an upper bound: before anything is refused for it, one more look is taken.
        """
        needed_bytes = self._left_by[tier] + size_bytes + ENTRIES_BYTES
        if self._unseen_bytes and self.free_bytes - self._unseen_bytes < needed_bytes:
            self._check()
        return self.free_bytes - self._unseen_bytes >= needed_bytes or not self._is_known

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
        self._is_known = True
        self.free_bytes = free_bytes
        was_nearly_full = self.is_nearly_full
        self.is_nearly_full = free_bytes < self._free_bytes_min
        if self.is_nearly_full and not was_nearly_full:
            log.error(
                "%s: %d KiB are free, %d KiB are kept in reserve (%s); Produce and InitProducerId are "
                "refused until there is more, and below %d KiB whatever else makes the log grow",
                "the memory is nearly full" if self._is_memory else "the disk is nearly full",
                free_bytes >> 10,
                self._free_bytes_min >> 10,
                OF_MEMORY if self._is_memory else "--disk-reserve-bytes",
                self._left_by[Tier.GROWS] >> 10,
            )
        elif was_nearly_full and not self.is_nearly_full:
            where = "in the memory" if self._is_memory else "on the disk"
            log.warning("there is room %s again: %d KiB are free", where, free_bytes >> 10)
