"""A worker's notice board: the phase it is in and its counters, in a small file that outlives a kill -9.

The file is mapped into memory, so what a worker wrote last is there to be read however it ended. That is how
the demonstration aims its kills and says afterwards what they hit. It is no part of the pipeline, which knows
only `Board.phase` and the counters, and nothing about who reads them.
"""

from __future__ import annotations

import mmap
import struct
from enum import IntEnum
from pathlib import Path

_SLOT = struct.Struct("=Q")
"""A field, aligned: a reader sees the old value or the new one, nothing between."""
_FIELDS = ("phase", "begun", "committed", "aborted")


class Phase(IntEnum):
    STARTING = 0
    REBALANCING = 1
    """Asked to join, or has given partitions back, and not yet got its new assignment."""
    WAITING = 2
    FILLING = 3
    """A transaction has begun and records are being sent."""
    SENT = 4
    """The transaction's last record is sent; not all are acknowledged yet."""
    ACKNOWLEDGED = 5
    """All are, so the broker has the transaction open. Its commit has not been asked for."""
    COMMITTING = 6
    ABORTING = 7


class Board:
    """One worker process's board; without a path it is private memory."""

    def __init__(self, path: Path | None = None) -> None:
        size_bytes = _SLOT.size * len(_FIELDS)
        if path is None:
            self._map = mmap.mmap(-1, size_bytes)
            return
        with path.open("a+b") as file:
            file.truncate(size_bytes)
            self._map = mmap.mmap(file.fileno(), size_bytes)

    @property
    def phase(self) -> Phase:
        return Phase(self._get(0))

    @phase.setter
    def phase(self, phase: Phase) -> None:
        self._set(0, phase)

    @property
    def begun(self) -> int:
        return self._get(1)

    @property
    def committed(self) -> int:
        return self._get(2)

    @property
    def aborted(self) -> int:
        return self._get(3)

    def count_begun(self) -> None:
        self._set(1, self.begun + 1)

    def count_committed(self) -> None:
        self._set(2, self.committed + 1)

    def count_aborted(self) -> None:
        self._set(3, self.aborted + 1)

    def _get(self, index: int) -> int:
        value: int = _SLOT.unpack_from(self._map, index * _SLOT.size)[0]
        return value

    def _set(self, index: int, value: int) -> None:
        _SLOT.pack_into(self._map, index * _SLOT.size, value)
