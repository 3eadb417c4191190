"""The journal in memory: what it counts against its bound is what a process pays."""

from __future__ import annotations

import tracemalloc

from oncelog.journal import FIRST_POSITION, EntryToWrite
from oncelog.journal.memory import MemoryJournal
from oncelog.store.level0 import PayloadCache


def test_small_entries_are_counted_with_what_they_cost_besides_their_bytes() -> None:
    journal = MemoryJournal(lambda confirm, written: confirm(written), 1 << 30)
    cache = PayloadCache(1 << 30)
    tracemalloc.start()
    try:
        for number in range(10_000):
            entry = EntryToWrite(
                FIRST_POSITION + number, 10**12 + number, 10**6 + number, bytes(50), (bytes(80),), False
            )
            journal.append(entry, lambda written: cache.put(written.position, written.payload))
        taken_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert journal.size_bytes / 2 < taken_bytes < journal.size_bytes
